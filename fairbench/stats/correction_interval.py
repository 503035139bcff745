"""Intervals of corrected task means: the prompts' own error, and the calibration's, which all prompts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from fairbench.stats.correction_concentration import Sample, concentration_of, sample_of, sampling_variance, usable
from fairbench.stats.intervals import Interval, Scope
from fairbench.stats.units import Data
from fairbench.types import FloatArray

_BLOCK: Final = 250
"""Tables at a time: the work stays below 30 MB at 50 prompts."""
_TAIL: Final = (1 + 0.95) / 2
"""Upper quantile of a 95 % interval."""


def concentration_interval(
    observed: Data,
    calibration: ArrayLike,
    scope: Scope,
    rng: np.random.Generator,
    groups: Sequence[int] | None = None,
    *,
    draws: int = 2000,
) -> Interval:
    """Return the task mean of `corrected_concentration` with its 95 % interval.

    observed (P, K + 1) or Units, calibration (K or K + 1, K + 1), groups: as in `corrected_concentration`. The squared
    error is the sum of two parts. The prompts': for "this list" the sampling variances of their images; for
    "other prompts" the variance between the prompts' values over P, but not less than the first, with a t
    quantile. The calibration's: the variance of the task mean over `draws` tables, every row from Dirichlet(its
    counts), each table for all prompts.
    """

    def variance(sample: Sample) -> float:
        # The lower the estimate, the lower that of its variance: without the bound the interval would miss 0 too often.
        unbiased, lower_bound = sampling_variance(sample)
        return float(max(unbiased.sum(), lower_bound.sum()))

    sample = sample_of(observed, calibration, groups)
    return _interval(concentration_of, variance, sample, calibration, scope, rng, draws)


def contrast_interval(
    observed: Data,
    calibration: ArrayLike,
    scope: Scope,
    rng: np.random.Generator,
    contrast: Sequence[float],
    *,
    draws: int = 2000,
) -> Interval:
    """Return the task mean of a contrast of corrected shares, sum_k contrast_k p_k, with its 95 % interval.

    contrast: K numbers. Female minus male is 1 for each female cell and -1 for each male one; a share is 1 for its
    cells and 0 for the others. The rest as in `concentration_interval`. Where misses depend on the cell it is a ratio,
    biased by order 1/n; else unbiased for an exact table.
    """
    sample = sample_of(observed, calibration, None)
    weights, cells = np.asarray(contrast, dtype=np.float64), len(sample.one_hot)
    if weights.shape != (cells,):
        raise ValueError(f"contrast: give one number for each of the {cells} cells, got {weights.shape}")

    def parts(sample: Sample) -> tuple[FloatArray, FloatArray]:
        """Return what each kind of image adds to the numerator and to the denominator of the ratio, both (..., T)."""
        inverse = np.linalg.inv(sample.table)[..., :cells]
        return (sample.kinds @ (inverse @ weights)[..., None])[..., 0], (sample.kinds @ inverse).sum(axis=-1)

    def value(sample: Sample) -> FloatArray:
        above, below = parts(sample)
        return np.asarray((sample.times @ above[..., None] / (sample.times @ below[..., None]))[..., 0])

    def variance(sample: Sample) -> float:
        above, below = parts(sample)
        influence = (above - value(sample)[:, None] * below) / (sample.times @ below)[:, None]
        images = sample.times.sum(axis=-1)
        return float(((sample.times * influence**2).sum(axis=-1) * images / (images - 1)).sum())

    return _interval(value, variance, sample, calibration, scope, rng, draws)


def _interval(
    value: Callable[[Sample], FloatArray],
    variance: Callable[[Sample], float],
    sample: Sample,
    calibration: ArrayLike,
    scope: Scope,
    rng: np.random.Generator,
    draws: int,
) -> Interval:
    """Return the interval of the mean of `value` (P,); `variance`: that of the sum of its values for a given table."""
    enough = usable(sample)
    used, left_out = int(enough.sum()), int((~enough).sum())
    if used < (2 if scope == "other prompts" else 1):
        nan = float("nan")
        return Interval(nan, nan, nan, nan, used, left_out, nan)
    sample = replace(sample, times=sample.times[enough])
    values = value(sample)
    if scope == "other prompts":
        # As in `intervals.interval_of`: the spread of few or equal values must not hide the images' own error.
        own = max(float(values.var(ddof=1)) / used, variance(sample) / used**2)
        quantile = float(stdtrit(used - 1, _TAIL))
    else:
        own, quantile = variance(sample) / used**2, float(ndtri(_TAIL))
    tables = calibration_draws(calibration, rng, draws)
    means = [value(replace(sample, table=block)).mean(axis=-1) for block in tables]
    shared = float(np.concatenate(means).std(ddof=1))
    estimate, error = float(values.mean()), float(np.hypot(np.sqrt(own), shared))
    return Interval(estimate, estimate - quantile * error, estimate + quantile * error, error, used, left_out, shared)


def calibration_draws(calibration: ArrayLike, rng: np.random.Generator, draws: int) -> Iterator[FloatArray]:
    """Yield blocks (b, R, R) of tables, each row a draw from Dirichlet(counts): a cell never observed stays 0."""
    counts = np.asarray(calibration)
    for start in range(0, draws, _BLOCK):
        gamma = rng.standard_gamma(counts, size=(min(_BLOCK, draws - start), *counts.shape))
        yield (gamma / gamma.sum(axis=-1, keepdims=True))[..., : len(counts)]
