"""`--retain SHARE[:KIND]`: which examples of a training keep what a model could do before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairbench.cards.textfile import read_text
from fairbench.errors import FairbenchError
from fairbench.registry import suggest

CAPTION_QUESTION: Final = "Describe this image."
QUESTIONS: Final = (
    "How many people are in this image?",
    "What is the person in this image doing?",
    "What is the background of this image?",
    "What is the most common colour in this image?",
)
ANSWER_TOKENS: Final = 48
"""Tokens at which the frozen model's answers are cut."""
IMAGES_PER_PROMPT: Final = 4
"""Images of each general prompt."""
KINDS: Final[Mapping[str, str]] = {
    "stated": "the set's images under the prompts that they were made from, which state a group",
    "captions": "the frozen model's own descriptions of the set's images",
    "questions": "the frozen model's own answers to questions about the set's images",
    "general": "images of things and places, drawn by the frozen model",
}
_GENERAL: Final = Path(__file__).with_name("general-prompts.txt")


def general_prompts() -> list[str]:
    """Return prompts of things and places, without a person."""
    return [text for line in read_text(_GENERAL).splitlines() if (text := line.strip())]


def texts(kinds: Sequence[str]) -> list[str]:
    """Return what of ours the kinds use, prompts and questions and numbers: it can change a training."""
    own = {
        "general": [*general_prompts(), str(IMAGES_PER_PROMPT)],
        "captions": [CAPTION_QUESTION, str(ANSWER_TOKENS)],
        "questions": [*QUESTIONS, str(ANSWER_TOKENS)],
    }
    return [text for kind in kinds for text in own.get(kind, [])]


def parsed(text: str) -> tuple[float, tuple[str, ...]] | None:
    """Return share and kinds of `SHARE[:KIND[+KIND ...]]`; None for a share of 0. Raises FairbenchError.

    >>> parsed(".5"), parsed("0.8:stated+captions"), parsed("0")
    ((0.5, ('stated',)), (0.8, ('stated', 'captions')), None)
    """
    number, _, kinds = text.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise FairbenchError(f"--retain {text}: give a share from 0 to 1, as in .5 or .5:captions.")
    names = tuple(dict.fromkeys(kinds.split("+"))) if ":" in text else ("stated",)
    if (unknown := next((name for name in names if name not in KINDS), None)) is not None:
        raise FairbenchError(f"--retain {text}: there is no kind {unknown!r}{suggest(unknown, KINDS)}.")
    return (share, names) if share else None


def drawn(share: float, seed: int, step: int, batch: int) -> tuple[NDArray[np.bool_], np.random.Generator]:
    """Return which examples of a training's step are capability data, (batch,), and the generator that draws on."""
    rng = np.random.default_rng([seed, step, 0, 2])
    return rng.random(batch) < share, rng
