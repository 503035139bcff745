"""Intervals of corrected task means: the prompts' own error, and the calibration's, which all prompts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from fairbench.stats.comparison import Scope
from fairbench.stats.correction import Counts, prepared
from fairbench.stats.correction_sq import class_matrix, sampling_variance, sq_of
from fairbench.types import FloatArray

_BLOCK: Final = 250
"""Replicates at a time: the work stays below 30 MB at 50 prompts."""

# A value for every prompt and table, and the sampling variance of the sum over prompts for one table.
_Value = Callable[[Counts, FloatArray, Counts], FloatArray]
_Variance = Callable[[Counts, FloatArray], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A corrected task mean and its interval.

    error: the standard error; shared: the part of it that is the calibration's (more images a prompt do not lower it).
    prompts: on how many it rests; left_out: how many had too few faces. NaN where no prompt is left.
    """

    value: float
    low: float
    high: float
    error: float
    shared: float
    prompts: int
    left_out: int


def sq_interval(
    observed: ArrayLike,
    calibration: ArrayLike,
    rng: np.random.Generator,
    groups: Sequence[int] | None = None,
    *,
    scope: Scope = "these prompts",
    level: float = 0.95,
    draws: int = 2000,
) -> Interval:
    """Return the task mean of `corrected_sq` with its interval.

    observed (P, K + 1), calibration (K or K + 1, K + 1), groups: as in `corrected_sq`. The squared error is the sum of
    two parts. The prompts': for "these prompts" the sampling variances of their images; for "prompts like these" the
    variance between the prompts' values over P (it holds the sampling error), with a t quantile. The calibration's: the
    variance of the task mean over `draws` tables, every row from Dirichlet(its counts), each table for all prompts.
    """
    one_hot = class_matrix(np.shape(observed)[-1] - 1, groups)

    def value(counts: Counts, table: FloatArray, totals: Counts) -> FloatArray:
        return sq_of(counts, table, totals, one_hot)

    def variance(counts: Counts, table: FloatArray) -> float:
        # The lower the estimate of sq, the lower that of its variance: without the bound it would miss 0 too often.
        unbiased, least = sampling_variance(counts, table, one_hot)
        return float(max(unbiased.sum(), least.sum()))

    return _interval(value, variance, np.asarray(observed), np.asarray(calibration), rng, scope, level, draws)


def contrast_interval(
    observed: ArrayLike,
    calibration: ArrayLike,
    rng: np.random.Generator,
    contrast: Sequence[float],
    *,
    scope: Scope = "these prompts",
    level: float = 0.95,
    draws: int = 2000,
) -> Interval:
    """Return the task mean of a contrast of corrected shares, sum_k contrast_k p_k, with its interval.

    contrast: K numbers. Female minus male is 1 for each female cell and -1 for each male one; a share is 1 for its
    cells and 0 for the others. The rest as in `sq_interval`. Where misses depend on the cell it is a ratio, biased by
    order 1/n; else unbiased for an exact table.
    """
    weights, cells = np.asarray(contrast, dtype=np.float64), np.shape(observed)[-1] - 1
    if weights.shape != (cells,):
        raise ValueError(f"contrast: give one number for each of the {cells} cells, got {weights.shape}")

    def parts(counts: Counts, table: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return each column's part in the numerator and in the denominator, and the denominator."""
        inverse = np.linalg.inv(table)[..., :cells]
        above, below = (inverse @ weights)[..., None], inverse.sum(axis=-1)[..., None]
        enough = counts.sum(axis=-1, keepdims=True) >= 2
        return above, below, np.where(enough, counts @ below, np.nan)

    def value(counts: Counts, table: FloatArray, totals: Counts) -> FloatArray:
        above, _, whole = parts(counts, table)
        return np.asarray((counts @ above / whole)[..., 0])

    def variance(counts: Counts, table: FloatArray) -> float:
        above, below, whole = parts(counts, table)
        n = counts.sum(axis=-1)
        influence = (above.T - counts @ above / whole @ below.T) / whole
        return float(((counts * influence**2).sum(axis=-1) * n / (n - 1)).sum())

    return _interval(value, variance, np.asarray(observed), np.asarray(calibration), rng, scope, level, draws)


def _interval(
    value: _Value,
    variance: _Variance,
    observed: Counts,
    calibration: Counts,
    rng: np.random.Generator,
    scope: Scope,
    level: float,
    draws: int,
) -> Interval:
    counts, table, totals = prepared(observed, calibration)
    kept = counts.sum(axis=-1) >= 2
    counts, left_out = counts[kept], int((~kept).sum())
    used = len(counts)
    if used < (2 if scope == "prompts like these" else 1):
        return Interval(np.nan, np.nan, np.nan, np.nan, np.nan, used, left_out)
    values = value(counts, table, totals)
    if scope == "prompts like these":
        own, dof = values.var(ddof=1) / used, float(used - 1)
    else:
        own, dof = variance(counts, table) / used**2, np.inf
    means = [value(counts, drawn, totals).mean(axis=-1) for drawn in _tables(calibration, rng, draws)]
    shared = float(np.concatenate(means).std(ddof=1))
    error = float(np.hypot(np.sqrt(own), shared))
    mean, reach = float(values.mean()), error * float(student.ppf((1 + level) / 2, dof))
    return Interval(mean, mean - reach, mean + reach, error, shared, used, left_out)


def _tables(calibration: Counts, rng: np.random.Generator, draws: int) -> Iterator[FloatArray]:
    """Yield blocks (b, R, R) of tables, each row a draw from Dirichlet(counts): a cell never seen stays 0."""
    for start in range(0, draws, _BLOCK):
        gamma = rng.standard_gamma(calibration, size=(min(_BLOCK, draws - start), *calibration.shape))
        yield (gamma / gamma.sum(axis=-1, keepdims=True))[..., : len(calibration)]
