"""Reminds the model, after the prompt, that anybody can have the occupation."""

from __future__ import annotations

from collections.abc import Sequence

from fairbench.methods.common import PromptMethod
from fairbench.protocols import MethodContext, PromptSample

SENTENCE = "if all individuals can be a {subject} irrespective of their gender or skin color"


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
