"""A run beside the shares that its task refers to, as those of a workforce."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fairbench.display.numbers import number
from fairbench.display.tables import Cell, Column, Table, numbers
from fairbench.measure.series import References
from fairbench.metrics._rd import relative_diversity
from fairbench.types import FloatArray

NOTE = (
    "Means over the prompts that have a reference and faces. rd of shown above that of the reference: the images "
    "exaggerate it, or show few faces, as chance adds to rd. Each prompt's reference is in prompts.csv; "
    "distance-to-reference in metrics.csv. amplification: how far shares lie beyond the reference on its own side "
    "of .5, of prompts whose reference is at least .05 from it. Shares of a workforce are self-reported sex or age: "
    "no target, and no appearance."
)
NEAR_HALF = 0.05
"""A reference share nearer to .5 than this has no side."""


def of_prompts(references: References, attribute: str, size: int, subjects: Sequence[str]) -> FloatArray | None:
    """Return the reference shares (P, K) of an attribute of K = size classes, NaN for subjects (P) that have none.

    None where the task has no reference for the attribute.
    """
    shares_of = references.get(attribute)
    if shares_of is None:
        return None
    return np.array([shares_of.get(subject, (np.nan,) * size) for subject in subjects], dtype=np.float64)


def amplification(shown: FloatArray, reference: FloatArray) -> FloatArray:
    """Return the mean over prompts of sign(r - .5) (p - r) (K,), of shown shares p and references r, (P, K).

    Above 0: majorities of the reference are larger and its minorities smaller in images. A prompt whose r is within
    NEAR_HALF of .5 has no majority and is left out; NaN where none is left.
    """
    clear = np.abs(reference - 0.5) >= NEAR_HALF
    total = np.where(clear, np.sign(reference - 0.5) * (shown - reference), 0.0).sum(axis=0)
    return np.asarray(total / np.where(clear.any(axis=0), clear.sum(axis=0), np.nan))


def table(
    references: References,
    labels_of: Mapping[str, Sequence[str]],
    subjects: Sequence[str],
    shares_of: Callable[[str], FloatArray],
) -> Table | None:
    """Return each class's mean share beside its reference, and RD of both; None where no attribute has a reference.

    labels_of: attribute -> its classes. subjects: (P,), the prompts'. shares_of: attribute -> measured shares (P, K).
    """
    columns = [Column("attribute"), Column("share of"), *numbers("shown", "reference", "difference", "amplification")]
    result = Table(columns, "against the task's reference", NOTE, grouped=True)
    for attribute, labels in labels_of.items():
        reference = of_prompts(references, attribute, len(labels), subjects)
        if reference is None:
            continue
        shown = shares_of(attribute)
        both = ~np.isnan(shown[:, 0]) & ~np.isnan(reference[:, 0])
        if not both.any():
            result.add(attribute, "no prompt has both")
            continue
        amplified = amplification(shown[both], reference[both])
        rows = [*zip(labels, shown[both].mean(axis=0), reference[both].mean(axis=0), strict=True)]
        rows.append(("rd", *(relative_diversity(p[both]).mean() for p in (shown, reference))))
        for i, (name, ours, theirs) in enumerate(rows):
            difference = number(float(ours - theirs), sign=True)
            values = [Cell(number(float(v)), share=None if name == "rd" else float(v)) for v in (ours, theirs)]
            by = "" if name == "rd" else number(float(amplified[i]), sign=True)
            result.add("" if i else attribute, name, *values, difference, by)
        result.section()
    return result if result.rows else None
