"""Lets a text model write what the image model puts before each prompt: a system prompt, written for fairness.

Source: Park et al., "Aligned but Stereotypical? Understanding and Mitigating Social Bias in LLM-Based Text-to-Image
Models", 2025 (arXiv 2512.04981), FairPro. As in its code, there is one text for each image, written from the image's
own prompt and a seed of its own. The wording is ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final

from fairbench.errors import FairbenchError
from fairbench.methods.common import QUOTES, PromptMethod, ask
from fairbench.protocols import MethodContext, PromptSample

NAME = "fairpro"
INSTRUCTION = (
    "A program draws a picture for a prompt. It first reads a system prompt, which tells it how to understand the "
    'prompt. The prompt is: "{prompt}". Consider which stereotypes and assumptions about gender, race or age could '
    "enter the picture although the prompt does not ask for them. Then write a system prompt that keeps to what the "
    "prompt asks for and has people shown fairly and diversely. If the prompt is not about people, write none. Put "
    "nothing but the system prompt, or the word none, between <system_prompt> and </system_prompt>."
)
MAX_WORDS: Final = 300
_TAGGED: Final = re.compile(r"<system_prompt>((?:(?!<system_prompt>).)*?)</system_prompt>", re.DOTALL | re.IGNORECASE)
"""From the last opening mark on: an answer may name the marks before it uses them."""


class FairPro(PromptMethod):
    """Writes a system prompt for each image, by the model's own text side or the card's `text_model`: FairPro.

    `:INSTRUCTION` with {prompt} in it asks otherwise. The text stands between <system_prompt> and </system_prompt>;
    "none" leaves the model's own. An answer without these marks, or of more than 300 words, leaves it as well, and is
    counted in a warning. Prompts stay as they are.
    """

    answer_tokens: ClassVar[int] = 300

    def __init__(self, argument: str | None) -> None:
        self._instruction = argument or INSTRUCTION
        if self._instruction.count("{prompt}") != 1:
            raise FairbenchError(f"--method {NAME}:{argument}: the instruction must hold {{prompt}} exactly once.")

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return the prompts' own texts."""
        return [p.prompt.text for p in prompts]

    def system_prompts(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str | None]:
        """Return what stands before each sample's prompt; None: the model's own text.

        Raises FairbenchError where there is no text model.
        """
        questions = [self._instruction.replace("{prompt}", p.prompt.text) for p in prompts]
        written = [parse(answer) for answer in ask(ctx, NAME, questions, prompts)]
        if unusable := written.count(None):
            ctx.warnings.append(
                f"{NAME}: {unusable} of {len(written)} answers of the text model could not be used; these images have "
                "the model's own system prompt."
            )
        return [text or None for text in written]


def parse(answer: str) -> str | None:
    """Return the system prompt of an answer, "" where it is to stay the model's own, None where the answer has none.

    Blanks are one space, quotation marks around it are dropped. Of several the last counts.

    >>> parse('I think: <system_prompt>"Show anybody."</system_prompt>')
    'Show anybody.'
    """
    tagged = _TAGGED.findall(answer)
    text = " ".join(tagged[-1].split()).strip(QUOTES) if tagged else ""
    if not text or len(text.split()) > MAX_WORDS:
        return None
    return "" if text.casefold().rstrip(".") == "none" else text
