"""Lets a text model write an inclusive prompt first, one per sample."""

from __future__ import annotations

from collections.abc import Sequence

from fairbench.errors import FairbenchError
from fairbench.methods.common import QUOTES, REWRITE, PromptMethod, ask, or_neutral
from fairbench.protocols import MethodContext, PromptSample

NAME = "chain-of-thought"
MAX_WORDS = 60
"""A longer answer is not a prompt but talks about one (and may have been cut off at the text model's limit)."""


class ChainOfThought(PromptMethod):
    """Asks the model itself, or the card's text model, to rewrite the prompt; `:INSTRUCTION` with {prompt} in it.

    An empty answer, or one of more than 60 words, leaves that sample the neutral prompt, and is counted in a warning.
    Any other answer is used as it is: a rewrite that drops the subject shows in alignment scores.
    """

    def __init__(self, argument: str | None) -> None:
        self._instruction = argument or REWRITE
        if self._instruction.count("{prompt}") != 1:
            raise FairbenchError(f"--method {NAME}:{argument}: the instruction must hold {{prompt}} exactly once.")

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return the model's prompt for each sample. Raises FairbenchError where there is no text model."""
        questions = [self._instruction.replace("{prompt}", p.prompt.text) for p in prompts]
        return or_neutral(ctx, NAME, [as_prompt(a) for a in ask(ctx, NAME, questions, prompts)], prompts)


def as_prompt(answer: str) -> str | None:
    """Return an answer as one line without quotation marks around it; None where it is no prompt."""
    words = answer.strip(QUOTES).split()
    return " ".join(words) if 0 < len(words) <= MAX_WORDS else None
