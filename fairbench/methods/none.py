"""No mitigation: the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fairbench.cards.cards import ModelCard
from fairbench.errors import FairbenchError
from fairbench.protocols import MethodContext, PromptSample


class NoMethod:
    """Leaves every prompt and the model as they are."""

    version: ClassVar[int] = 1

    def __init__(self, argument: str | None) -> None:
        if argument is not None:
            raise FairbenchError(f"--method none takes no argument, {argument!r} was given.")

    def adapt(self, card: ModelCard) -> ModelCard:
        """Return the card unchanged."""
        return card

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> Sequence[str]:
        """Return the prompts' own texts."""
        return [p.prompt.text for p in prompts]
