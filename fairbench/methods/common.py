"""Shared by methods: words for groups, randomness of their own, changes to a prompt, questions to a text model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fairbench import keys
from fairbench.cards.cards import ModelCard
from fairbench.errors import FairbenchError
from fairbench.protocols import MethodContext, PromptSample
from fairbench.types import Prompt

GENDERS: Mapping[str, str] = {"female": "female", "male": "male"}
RACES: Mapping[str, str] = {"WMELH": "White", "Asian": "Asian", "Black": "Black", "Indian": "Indian"}
"""Label -> the word that a prompt says for it. Nobody writes WMELH (White, Middle Eastern, Latino Hispanic)."""

REWRITE = "Rewrite this prompt so that it names one gender and one race, all equally likely: {prompt}"
"""The instruction for an inclusive prompt; the phantom was taught to follow it."""
QUOTES: Final = " \t\r\n\"'`“”‘’"
"""What is dropped from both ends of a text model's answer: blanks and quotation marks."""


class PromptMethod:
    """Base of methods that only rewrite prompts: the model stays as it is."""

    version: ClassVar[int] = 1

    def adapt(self, card: ModelCard) -> ModelCard:
        """Return the card unchanged."""
        return card


class ModelMethod(PromptMethod):
    """Base of methods that hook the model, as protocols.WrapsModel describes: prompts stay as they are."""

    needs: ClassVar[Mapping[str, type]] = {}

    def __init__(self, argument: str | None) -> None:
        self.argument = argument

    def settings(self) -> dict[str, Any]:
        """Return the argument as it was given; a method that reads files, or has defaults, returns more."""
        return {"argument": self.argument}

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return the prompts' own texts."""
        return [p.prompt.text for p in prompts]


def own_seed(seed: int, purpose: str) -> int:
    """Return a seed (63 bits) that belongs to one purpose of one sample.

    The sample's seed itself makes the image's noise: a method that drew from the same stream would tie what a prompt
    says to how its image comes out.
    """
    return int.from_bytes(keys.digest("method", [purpose, seed])[:8], "big") >> 1


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return a random generator that belongs to one purpose of one sample; see `own_seed`."""
    return np.random.Generator(np.random.PCG64(own_seed(seed, purpose)))


def index_at(shares: Sequence[float] | NDArray[np.float64], position: float) -> int:
    """Return the index of the share in which a position lies, 0 to their sum, when they are laid end to end."""
    return min(int(np.searchsorted(np.cumsum(shares), position, side="right")), len(shares) - 1)


def find_words(words: str, text: str, *, parts: bool = False) -> re.Match[str] | None:
    """Return where a text first holds `words`, as whole words; None: nowhere. Case counts.

    Words without letters of two cases (as in Chinese, Thai, Arabic) may stand inside others where they stand nowhere
    alone: such scripts write no spaces, or join articles and particles to a word. parts: any words may.
    """
    escaped = re.escape(words)
    whole = re.search(rf"(?<!\w){escaped}(?!\w)", text)
    return whole or (re.search(escaped, text) if parts or words.lower() == words.upper() else None)


def instead_of_subject(prompt: Prompt, words: str) -> str:
    """Return the prompt's text with `words` in place of its subject; nothing else changes.

    Replaced is the first occurrence as whole words, else the first at all (in scripts without spaces, and in
    `nurses`). Raises FairbenchError where the text does not contain its subject.
    """
    match = find_words(prompt.subject, prompt.text, parts=True)
    if not prompt.subject or match is None:
        raise FairbenchError(
            f"Task {prompt.task}: the prompt {prompt.text!r} does not hold its subject {prompt.subject!r}, in whose "
            "place the method would write; fix the task or use a method that adds a suffix."
        )
    return prompt.text[: match.start()] + words + prompt.text[match.end() :]


def spoken(label: str) -> str:
    """Return the word that a prompt says for a label.

    >>> spoken("WMELH"), spoken("Latino_Hispanic")
    ('White', 'Latino Hispanic')
    """
    return RACES.get(label, label.replace("_", " "))


def with_group(prompt: Prompt, group: Sequence[str]) -> str:
    """Return the prompt with its group before its subject, as in "... of a female White nurse, a person".

    group: labels, in the order in which they are said.
    """
    return instead_of_subject(prompt, " ".join([*map(spoken, group), prompt.subject]))


def ask(ctx: MethodContext, method: str, questions: Sequence[str], samples: Sequence[PromptSample]) -> list[str]:
    """Return the text model's answer to one question per sample, each with a seed of the sample's own.

    Raises FairbenchError where the model has no text side and its card names no text model.
    """
    if ctx.text_model is None:
        raise FairbenchError(
            f"--method {method} needs a model that writes text: the adapter {ctx.card.adapter!r} of {ctx.card.name} "
            "answers no questions, and its card names no text_model; add one to the card, or use another method."
        )
    return ctx.text_model.complete(questions, [own_seed(s.seed, method) for s in samples])


def or_neutral(
    ctx: MethodContext, method: str, texts: Sequence[str | None], samples: Sequence[PromptSample]
) -> list[str]:
    """Return the texts, and the neutral prompt for a sample that has none; a notice counts these."""
    absent = sum(text is None for text in texts)
    if absent:
        ctx.warnings.append(
            f"{method}: {absent} of {len(texts)} answers of the text model could not be used; these images have "
            "the neutral prompt."
        )
    return [s.prompt.text if text is None else text for text, s in zip(texts, samples, strict=True)]
