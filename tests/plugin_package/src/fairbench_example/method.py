"""A method that only rewrites prompts."""

from collections.abc import Sequence
from typing import ClassVar

from fairbench.config import ModelCard
from fairbench.protocols import MethodContext, PromptSample


class Politely:
    """Asks politely; `politely:WORD` says another word than please."""

    version: ClassVar[int] = 1

    def __init__(self, argument: str | None) -> None:
        self._word = argument or "please"

    def adapt(self, card: ModelCard) -> ModelCard:
        """Return the card unchanged."""
        return card

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return each prompt with the word behind it."""
        return [f"{p.prompt.text}, {self._word}" for p in prompts]
