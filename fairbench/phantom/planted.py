"""The planted truth: P(gender, race | subject), read from `planted.csv`, and what a prompt's text fixes of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairbench.cards import truth_table
from fairbench.cards.truth_table import OTHER as OTHER
from fairbench.phantom.renderer import GENDERS, RACES

TABLE_PATH = Path(__file__).with_name("planted.csv")
CELLS = tuple((gender, race) for gender in GENDERS for race in RACES)
COLUMNS = truth_table.columns((GENDERS, RACES))

SPOKEN: Mapping[str, tuple[str, ...]] = {label: (label,) for label in (*GENDERS, *RACES)} | {
    "female": ("female", "woman"),
    "male": ("male", "man"),
    "WMELH": ("White", "WMELH"),
}
"""The words of a prompt that stand for a label, the usual one first."""
WORDS: Mapping[str, str] = {word.lower(): label for label, words in SPOKEN.items() for word in words}
"""Words of a prompt (lower case) that name an attribute, and the label that each stands for."""


def listed(names: str) -> tuple[str, ...]:
    """Return the names of a list in which they are separated by commas; line ends and indentation do not count."""
    return tuple(name.strip() for name in names.split(","))


@functools.cache
def table() -> Mapping[str, NDArray[np.float64]]:
    """Return subject -> joint probabilities of shape (2, 4), axes in the order GENDERS x RACES; each sums to 1."""
    rows = truth_table.read(TABLE_PATH, COLUMNS)
    for joint in rows.values():
        joint.flags.writeable = False
    return {subject: joint.reshape(len(GENDERS), len(RACES)) for subject, joint in rows.items()}


@functools.lru_cache(maxsize=4096)
def subject_of(text: str) -> str:
    """Return the longest planted subject that `text` holds as whole words (upper or lower case), else OTHER."""
    return truth_table.row_of(text, table()) or OTHER


@functools.lru_cache(maxsize=4096)
def cumulative(text: str) -> NDArray[np.float64]:
    """Return the cumulative distribution over CELLS, shape (8,), of the images that `text` asks for.

    The subject's planted joint, conditioned on the attributes that the text names (`WORDS`, as whole words); where it
    names several labels of one attribute, the image has one of these.
    """
    labels = {WORDS[word] for word in truth_table.spaced(text).split() if word in WORDS}
    joint = table()[subject_of(text)] * np.outer(_allowed(GENDERS, labels), _allowed(RACES, labels))
    total = np.cumsum(joint)
    return np.asarray(total / total[-1])


def _allowed(labels: tuple[str, ...], named: set[str]) -> NDArray[np.bool_]:
    """Return which labels of an attribute the images may have: those that are named, or all where none is."""
    return np.array([label in named or not named.intersection(labels) for label in labels])
