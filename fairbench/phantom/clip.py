"""Captions that fit a mannequin and captions that do not, and how well a CLIP model tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from fairbench.phantom import text
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.types import RgbImage

if TYPE_CHECKING:
    from fairbench.scorers.clip_score import ClipScorer

UNKNOWN = "<unk>"
"""The token of a word outside the vocabulary."""
UNKNOWN_SUBJECTS = (UNKNOWN, f"{UNKNOWN} {UNKNOWN}")


@dataclass(frozen=True, slots=True)
class Caption:
    """A text, and what it states: indices into GENDERS and RACES, -1 for what it leaves open."""

    text: str
    gender: int
    race: int


def caption(rng: np.random.Generator, templates: tuple[str, ...] = text.TEMPLATES, neutral: bool = True) -> Caption:
    """Draw a caption that names gender, race, both or (where `neutral`) neither, all equally often."""
    stated = int(rng.integers(0 if neutral else 1, 4))  # bit 0: the gender, bit 1: the race
    gender = int(rng.integers(len(GENDERS))) if stated & 1 else -1
    race = int(rng.integers(len(RACES))) if stated & 2 else -1
    subject = text.pick(UNKNOWN_SUBJECTS if rng.random() < 0.15 else (*text.TAUGHT, *text.UNNAMED), rng)
    words = text.named(subject, GENDERS[gender] if stated & 1 else None, RACES[race] if stated & 2 else None, rng)
    return Caption(text.pick(templates, rng).replace("{subject}", words), gender, race)


def fits(captions: Sequence[Caption], gender: NDArray[np.int64], race: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return bool (captions, images): whether an image shows all that a caption states.

    gender, race: of each image, indices into GENDERS and RACES, shape (images,).
    """
    stated = np.array([(c.gender, c.race) for c in captions])[:, :, None]
    return np.asarray(((stated < 0) | (stated == np.stack([gender, race]))).all(axis=1))


def roc_auc(
    scorer: ClipScorer, images: Sequence[RgbImage], cells: NDArray[np.int64], rng: np.random.Generator
) -> float:
    """Return how often a fitting pair scores above one that does not fit: 1 always, 0.5 by chance (0 to 1).

    scorer: one that gives one value per image, such as `clip-score`. cells: of each image, an index into
    `planted.CELLS`. Every image gets one caption that fits and one that states at least one other label, both in
    wordings that training never saw.
    """
    fitting = [_caption_of(cell, True, rng) for cell in cells]
    wrong = [_caption_of(cell, False, rng) for cell in cells]
    above, below = (np.ravel(scorer.features(images, texts)) for texts in (fitting, wrong))
    return float(mannwhitneyu(above, below).statistic / (len(above) * len(below)))


def _caption_of(cell: int, fitting: bool, rng: np.random.Generator) -> str:
    gender, race = (np.array([index]) for index in divmod(cell, len(RACES)))
    while True:  # on average 7 in 24 captions fit
        candidate = caption(rng, text.HELD_OUT, neutral=False)
        if fits([candidate], gender, race).item() == fitting:
            return candidate.text
