"""Whether a confusion table can be inverted with its errors: enough images, and rows that differ enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.stats.correction import Counts
from fairbench.types import FloatArray

MIN_IMAGES: Final = 30
"""Images per row below which nothing is corrected: intervals would not cover what they say."""
FEW_IMAGES: Final = 50
"""Images per row below which corrected intervals are marked."""
MAX_CONDITION: Final = 10.0
"""Errors of shares can grow by the condition number: at 10, 160 images may tell no more than 1.6 read without error."""
MIN_CERTAINTY: Final = 5.0
"""Smallest singular value over its standard error. The corrections of bias and the intervals are expansions in its
inverse, a fifth here: what they leave out is some percent."""
_ROUNDING: Final = 1e-12
"""A standard error below it is 0 but for rounding."""


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The verdict on a table. reason: one sentence why it is refused, None where it may be used.

    images: of its smallest row. condition: the condition number. certainty: its smallest singular value over that
    value's standard error; infinite where no misreading was counted.
    """

    reason: str | None
    images: int
    condition: float
    certainty: float


def check(calibration: ArrayLike) -> Conditioning:
    """Return whether a table of counts (K or K + 1, K + 1) can be inverted; see MIN_IMAGES, MAX_CONDITION and so on."""
    counts = np.asarray(calibration)
    totals = counts.sum(axis=-1)
    few, smallest = int((totals < MIN_IMAGES).sum()), int(totals.min())
    if few:
        rows = (
            f"{few} of the {len(totals)} rows of the calibration hold" if few > 1 else "a row of the calibration holds"
        )
        reason = f"{rows} fewer than {MIN_IMAGES} images (the smallest {smallest}): calibrate with more"
        return Conditioning(reason, smallest, np.inf, 0.0)
    condition, certainty = conditioning((counts / totals[:, None])[:, : len(counts)], totals)
    return Conditioning(_problem(condition, certainty), smallest, condition, certainty)


def _problem(condition: float, certainty: float) -> str | None:
    """Return why a table cannot be inverted safely, None where it can."""
    if condition > MAX_CONDITION:
        return (
            f"the confusion table is near singular (condition number {condition:.3g}, at most {MAX_CONDITION:g} is "
            "allowed): the labeller cannot tell some groups apart"
        )
    if certainty < MIN_CERTAINTY:
        return (
            f"the confusion table is too uncertain (its smallest singular value is {certainty:.2g} standard errors, at "
            f"least {MIN_CERTAINTY:g} are needed): calibrate with more images"
        )
    return None


def conditioning(table: FloatArray, totals: Counts) -> tuple[float, float]:
    """Return the condition number of a table (R, R), and its smallest singular value over that value's standard error.

    First order: with singular vectors u and v the value changes by u' dB v, and row r of dB is multinomial of totals_r.
    """
    left, values, right = np.linalg.svd(table)
    if values[-1] <= np.finfo(np.float64).eps * len(values) * values[0]:
        return np.inf, 0.0
    u, v = left[:, -1], right[-1]
    per_row = (table @ v**2 - (table @ v) ** 2) / (totals - 1)
    error = float(np.sqrt((u**2 * per_row).sum()))
    return float(values[0] / values[-1]), float(values[-1] / error) if error > _ROUNDING else np.inf
