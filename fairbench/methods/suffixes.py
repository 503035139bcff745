"""Methods that add the same words at the end of every prompt, and the baseline, which adds none.

Liu et al. (NeurIPS 2025, arXiv 2502.03429, Table 1) report rows called prompt engineering; the words behind them are
not known here, those of the `any-...-suffix` methods are ours. The ethical intervention reminds the model that anybody
can have the occupation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fairbench.errors import FairbenchError
from fairbench.methods.common import PromptMethod
from fairbench.protocols import MethodContext, PromptSample

SENTENCE = "if all individuals can be a {subject} irrespective of their gender or skin color"


class _Suffix(PromptMethod):
    name: ClassVar[str] = "none"
    suffix: ClassVar[str] = ""

    def __init__(self, argument: str | None) -> None:
        if argument is not None:
            raise FairbenchError(f"--method {self.name} takes no argument, {argument!r} was given.")

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return each prompt's text followed by the suffix."""
        return [p.prompt.text + self.suffix for p in prompts]


class NoMethod(_Suffix):
    """Leaves every prompt and the model as they are."""


class AnyGenderSuffix(_Suffix):
    """Adds ", any gender" to every prompt: prompt engineering."""

    name = "any-gender-suffix"
    suffix = ", any gender"


class AnyRaceSuffix(_Suffix):
    """Adds ", any race" to every prompt: prompt engineering."""

    name = "any-race-suffix"
    suffix = ", any race"


class AnyMixSuffix(_Suffix):
    """Adds ", any gender and any race" to every prompt: prompt engineering."""

    name = "any-mix-suffix"
    suffix = ", any gender and any race"


class EthicalIntervention(PromptMethod):
    """Adds "if all individuals can be a {subject} irrespective of their gender or skin color", or `:SENTENCE`.

    The form is that of Bansal et al., "How well can Text-to-Image Generative Models understand Ethical Natural Language
    Interventions?", EMNLP 2022 (ENTIGEN), who intervene on gender and on skin color one at a time; naming both at once
    is ours. `{subject}` in the user's own sentence is replaced by the prompt's subject. A sentence that begins with a
    punctuation mark follows the prompt without a space.
    """

    def __init__(self, argument: str | None) -> None:
        sentence = argument or SENTENCE
        self._suffix = sentence if sentence[0] in ",.;:" else f" {sentence}"

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return each prompt's text followed by the sentence."""
        return [p.prompt.text + self._suffix.replace("{subject}", p.prompt.subject) for p in prompts]
