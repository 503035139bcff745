"""Intervals for corrected values: the calibration's error, shared by all prompts, times each prompt's sampling error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from fairbench.stats import correction
from fairbench.stats.correction import FloatArray, IntArray

Prompts = Literal["fixed", "random"]
_BLOCK: Final = 250
"""Replicates at a time: keeps the work in the cache and the memory below 100 MB at 50 prompts."""

Values = Callable[[NDArray[Any], FloatArray, IntArray], tuple[FloatArray, FloatArray]]
"""(counts, table, totals) to a value a prompt and what it exceeds the truth by on average."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A task mean, its interval, how many prompts it rests on and how many were left out for too few faces."""

    value: float
    low: float
    high: float
    prompts: int
    left_out: int


def sq_interval(
    observed: ArrayLike,
    calibration: ArrayLike,
    rng: np.random.Generator,
    *,
    groups: Sequence[int] | None = None,
    prompts: Prompts = "fixed",
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return the task mean of `corrected_sq` with its interval.

    observed (P, K + 1), calibration (K or K + 1, K + 1), groups: as in `corrected_sq`. prompts: "fixed" speaks of these
    prompts: a replicate draws every row of the table from Dirichlet(its counts), once for all prompts, and every
    prompt's counts from a multinomial; the interval is the estimate plus the quantiles of (replicate - plug-in value).
    "random" speaks of prompts like these: a t interval on the prompts' values (their spread holds the sampling error),
    with the variance between calibration draws added; at least two prompts. NaN where no prompt is left.
    """
    one_hot = correction.groups_matrix(np.shape(observed)[-1] - 1, groups)

    def values(counts: NDArray[Any], table: FloatArray, totals: IntArray) -> tuple[FloatArray, FloatArray]:
        return correction.sq_parts(counts, table, totals, one_hot)

    return _interval(values, np.asarray(observed), np.asarray(calibration), rng, prompts, level, resamples, least=2)


def contrast_interval(
    observed: ArrayLike,
    calibration: ArrayLike,
    rng: np.random.Generator,
    *,
    contrast: Sequence[float],
    prompts: Prompts = "fixed",
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return the task mean of a contrast of corrected shares, sum_k contrast_k p_k, with its interval.

    contrast: K numbers; female minus male is 1 for each female cell and -1 for each male one, a share is one 1 among 0.
    The rest as in `sq_interval`. Of order 1/n biased where misses depend on the group (a ratio), else unbiased for an
    exact table.
    """
    weights, k = np.asarray(contrast, dtype=np.float64), np.shape(observed)[-1] - 1
    if weights.shape != (k,):
        raise ValueError(f"contrast: give one number for each of the {k} cells")

    def values(counts: NDArray[Any], table: FloatArray, totals: IntArray) -> tuple[FloatArray, FloatArray]:
        inverse = np.linalg.inv(table)[..., :k]
        sums = counts @ np.stack([inverse @ weights, inverse.sum(axis=-1)], axis=-1)
        found = np.where(counts.sum(axis=-1) > 0, sums[..., 0], np.nan) / sums[..., 1]
        return found, np.zeros_like(found)

    return _interval(values, np.asarray(observed), np.asarray(calibration), rng, prompts, level, resamples, least=1)


def _interval(
    values: Values,
    observed: IntArray,
    calibration: IntArray,
    rng: np.random.Generator,
    prompts: Prompts,
    level: float,
    resamples: int,
    least: int,
) -> Interval:
    counts, table, totals = correction.prepared(observed, calibration)
    enough = counts.sum(axis=-1) >= least
    counts, left_out = counts[enough], int((~enough).sum())
    if not len(counts) or (prompts == "random" and len(counts) < 2):
        return Interval(np.nan, np.nan, np.nan, len(counts), left_out)
    plain, excess = values(counts, table, totals)
    value, tail = float((plain - excess).mean()), (1 - level) / 2
    if prompts == "random":
        draws = [values(counts, drawn, totals) for drawn in _tables(calibration, rng, resamples)]
        shared = np.concatenate([(p - e).mean(axis=-1) for p, e in draws]).var(ddof=1)
        error = np.sqrt((plain - excess).var(ddof=1) / len(counts) + shared)
        reach = float(error * student.ppf(1 - tail, len(counts) - 1))
        return Interval(value, value - reach, value + reach, len(counts), left_out)
    n = counts.sum(axis=-1)
    replicates = []
    for drawn in _tables(calibration, rng, resamples):
        again = rng.multinomial(n, counts / n[:, None], size=(len(drawn), len(n)))
        p, e = values(again, drawn, totals)
        replicates.append((p - e).mean(axis=-1))
    low, high = np.quantile(np.concatenate(replicates) - plain.mean(), [tail, 1 - tail])
    return Interval(value, value + float(low), value + float(high), len(counts), left_out)


def _tables(calibration: IntArray, rng: np.random.Generator, resamples: int) -> Iterator[FloatArray]:
    """Yield blocks (b, R, R) of tables, each row a draw from Dirichlet(counts): a cell never seen stays 0."""
    r = len(calibration)
    for start in range(0, resamples, _BLOCK):
        gamma = rng.standard_gamma(calibration, size=(min(_BLOCK, resamples - start), *calibration.shape))
        yield (gamma / gamma.sum(axis=-1, keepdims=True))[..., :r]
