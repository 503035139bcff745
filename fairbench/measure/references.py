"""Shares beside those that a task refers to, as of a workforce: how far they are off, and whether towards more of it.

A reference is what people report of themselves: no target, and no appearance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from fairbench.measure.counts import telling
from fairbench.measure.quantities import SCOPES, Attribute, Quantity
from fairbench.measure.series import References
from fairbench.stats import intervals
from fairbench.stats.estimands import Floats
from fairbench.stats.intervals import PromptValues
from fairbench.types import FloatArray

NEAR_HALF: Final = 0.05
"""A reference share nearer to .5 than this has no side."""
SHIFT, AMPLIFICATION = "shift", "amplification"
_ROUNDING: Final = 1e-9
_LIMITS: Final = (-1.0, 1.0)


def of_prompts(references: References, attribute: str, size: int, subjects: Sequence[str]) -> FloatArray | None:
    """Return the reference shares (P, K) of an attribute of K = size classes, NaN for subjects (P) that have none.

    None where the task has no reference for the attribute.
    """
    shares_of = references.get(attribute)
    if shares_of is None:
        return None
    return np.array([shares_of.get(subject, (np.nan,) * size) for subject in subjects], dtype=np.float64)


def side(reference: FloatArray) -> Floats:
    """Return sign(r - .5) of reference shares r (...), NaN within NEAR_HALF of .5 and where there is none.

    >>> side(np.array([0.9, 0.45, 0.46, 0.55, 0.1])).tolist()
    [1.0, -1.0, nan, 1.0, -1.0]
    """
    distance = reference - 0.5
    return np.where(np.abs(distance) >= NEAR_HALF - _ROUNDING, np.sign(distance), np.nan)


def of_attribute(attribute: Attribute, reference: FloatArray | None) -> Iterator[Quantity]:
    """Yield, of every class, shift and amplification, for this list and for other prompts. reference: (P, K) or None.

    shift: the mean over prompts of p - r. amplification: that of sign(r - .5) (p - r), above 0 where majorities of the
    reference are larger in images and its minorities smaller, over the prompts whose r has a side.
    """
    if reference is None:
        return
    for index, label in enumerate(telling(attribute.classes)):
        shares, r = intervals.share_of_prompts(attribute.data, index), reference[:, index]
        for metric, factor, what in (
            (SHIFT, np.where(np.isnan(r), np.nan, 1.0), "a reference and faces"),
            (AMPLIFICATION, side(r), "faces and a reference that is .05 or more from .5"),
        ):
            values = PromptValues(factor * (shares.value - r), np.abs(factor) * shares.variance)
            used, asked = int((~np.isnan(values.value)).sum()), len(r)
            reason = None if used == asked else f"over the {used} of {asked} prompts with {what}"
            for scope in SCOPES:
                yield Quantity(f"{metric}[{label}]", "raw", scope, values, _LIMITS, {"reason": reason})
