"""What labels stand for, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fairbench.cards.cards import CROSS

SHORT: Final[Mapping[str, str]] = {"WMELH": "White, Middle Eastern, Latino or Hispanic"}
"""Labels that are abbreviations in the literature -> what they stand for."""


def spaced(attribute: str) -> str:
    """Return an attribute or cross as tables write it: gender_x_race4 as gender x race4."""
    return attribute.replace(CROSS, " x ")


def expanded(labels: Iterable[str]) -> str:
    """Return a sentence that expands the abbreviations among labels or crosses of labels; empty where there are none.

    >>> expanded(["female WMELH", "male WMELH"])
    'WMELH: White, Middle Eastern, Latino or Hispanic.'
    """
    words = {word for label in labels for word in label.split()}
    return " ".join(f"{short}: {meaning}." for short, meaning in SHORT.items() if short in words)


def meaning(label: str, source: str | None, names: Mapping[str, str]) -> str:
    """Return what a class of a labeller means. names: label of the attribute `source` -> the class that pools it."""
    if source is not None:
        pooled = [name for name, pool in names.items() if pool == label]
        listed = " or ".join([", ".join(pooled[:-1]), pooled[-1]] if len(pooled) > 1 else pooled)
        return f"read as {listed} ({source})" if pooled else f"no label of {source}: it never occurs"
    return SHORT.get(label, f"what the classifier calls {label}")
