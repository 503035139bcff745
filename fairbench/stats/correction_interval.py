"""Intervals of corrected task means: the prompts' own error, and the calibration's, which all prompts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from fairbench.stats import gaffke
from fairbench.stats.correction_concentration import (
    Sample,
    concentration_of,
    sample_of,
    sampling_variance,
    usable,
    with_pseudo_images,
)
from fairbench.stats.intervals import Interval, Scope
from fairbench.stats.units import Data
from fairbench.types import FloatArray

_BLOCK: Final = 250
"""Tables at a time: the work stays below 30 MB at 50 prompts."""
_TAIL: Final = (1 + 0.95) / 2
"""Upper quantile of a 95 % interval."""
_PARTS: Final = tuple(i / 20 for i in range(21))
"""Parts of the calibration's errors at which the lowest and the highest value are looked for."""


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
    error is the sum of two parts. The prompts', with the pseudo-images of raw values: for "this list" the sampling
    variances of their images; for "other prompts", from ten on, Gaffke's limits of the mean of the prompts' values. The
    calibration's: the middle 95 % of the task mean over `draws` tables, each for all
    prompts (`calibration_draws`); to each side by itself, as it can be skewed.
    """
    sample = sample_of(observed, calibration, groups)
    return _interval(concentration_of, _concentration_variance, sample, calibration, scope, rng, draws)


def concentration_range(
    observed: Data,
    calibration: ArrayLike,
    scope: Scope,
    rng: np.random.Generator,
    groups: Sequence[int] | None = None,
    *,
    draws: int = 2000,
) -> tuple[Interval, Interval]:
    """Return the lowest and the highest corrected concentration if errors are at most those of the calibration.

    These images are read by the table (1 - t) I + t B, with t anywhere in [0, 1]: no errors at 0, the calibration's at
    1. The two intervals are those of the mean at the t where it is lowest and where it is highest. Arguments as in
    `concentration_interval`.
    """
    sample = sample_of(observed, calibration, groups)
    enough = usable(sample)
    kept = replace(sample, times=sample.times[enough])
    means = [float(np.mean(concentration_of(replace(kept, errors=t)))) if enough.any() else 0.0 for t in _PARTS]

    def at(t: float) -> Interval:
        part = replace(sample, errors=t)
        return _interval(concentration_of, _concentration_variance, part, calibration, scope, rng, draws)

    return at(_PARTS[int(np.argmin(means))]), at(_PARTS[int(np.argmax(means))])


def _concentration_variance(sample: Sample) -> float:
    """Return the variance of the sum of corrected concentrations, for a given table."""
    # The lower the estimate, the lower that of its variance: without the bound the interval would miss 0 too often.
    unbiased, lower_bound = sampling_variance(with_pseudo_images(sample))
    return float(max(unbiased.sum(), lower_bound.sum()))


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
        inverse = sample.inverse()[..., :cells]
        return (sample.kinds @ (inverse @ weights)[..., None])[..., 0], (sample.kinds @ inverse).sum(axis=-1)

    def value(sample: Sample) -> FloatArray:
        above, below = parts(sample)
        return np.asarray((sample.times @ above[..., None] / (sample.times @ below[..., None]))[..., 0])

    def variance(sample: Sample) -> float:
        sample = with_pseudo_images(sample)
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
    enough = usable(replace(sample, errors=1.0))  # the same prompts whatever part of the errors is taken
    used, left_out = int(enough.sum()), int((~enough).sum())
    sample = replace(sample, times=sample.times[enough])
    values, nan = value(sample), float("nan")
    if used < (gaffke.FEWEST if scope == "other prompts" else 1):
        return Interval(float(values.mean()) if used else nan, nan, nan, nan, used, left_out, nan)
    own, down, up = _for_given_table(values, variance(sample), scope, int(sample.times.sum(axis=-1).min()))
    tables = calibration_draws(calibration, rng, draws)
    means = [value(replace(sample, table=block)).mean(axis=-1) for block in tables]
    drawn, estimate = np.concatenate(means), float(values.mean())
    low, high, shared = with_shared(estimate, down, up, drawn)
    return Interval(estimate, low, high, float(np.hypot(own, shared)), used, left_out, shared)


def with_shared(estimate: float, down: float, up: float, drawn: FloatArray) -> tuple[float, float, float]:
    """Return the limits of an estimate and the standard error that the calibration adds to it.

    down, up: how far the limits lie for a given table. drawn: (D,), the estimate with other tables. To each side as far
    as the middle of the draws reaches: where few misreadings were counted, they lie to one side.
    """
    lowest, middle, highest = np.quantile(drawn, [1 - _TAIL, 0.5, _TAIL])
    below, above = max(estimate, middle) - lowest, max(highest - estimate, 0.0)
    return estimate - float(np.hypot(down, below)), estimate + float(np.hypot(up, above)), spread(drawn)


def _for_given_table(values: FloatArray, variance: float, scope: Scope, images: int) -> tuple[float, float, float]:
    """Return the standard error of the mean of values (P,) for a given table, and how far its limits lie to each side.

    variance: of the sum of the values, from drawing images. images: of the prompt that has the fewest.
    """
    used = len(values)
    if scope == "this list":
        error = np.sqrt(variance) / used
        return float(error), float(ndtri(_TAIL) * error), float(ndtri(_TAIL) * error)
    # The range of the unbiased estimate, widened to what the correction of a prompt made of it.
    lowest, highest = min(-1 / max(images - 1, 1), values.min()), max(1.0, values.max())
    low, high = (float(limit) for limit in gaffke.mean_interval(values.astype(np.float64), lowest, highest))
    return float(values.std(ddof=1) / np.sqrt(used)), float(values.mean() - low), float(high - values.mean())


def spread(draws: FloatArray) -> float:
    """Return the standard error that the middle 95 % of draws (D,) show: a nearly singular draw cannot dominate it."""
    low, high = np.quantile(draws, [1 - _TAIL, _TAIL])
    return float((high - low) / (2 * ndtri(_TAIL)))


def calibration_draws(calibration: ArrayLike, rng: np.random.Generator, draws: int) -> Iterator[FloatArray]:
    """Yield blocks (b, R, R) of tables, each row a draw from Dirichlet(counts + 1/(K - 1)).

    What is added keeps a misreading that was never counted from being taken for impossible: in all, one image of the
    row that was read wrong, as in a Bayesian upper limit with a uniform prior. It is in the draws alone: their spread
    is an error, and the estimate is that of the counts.
    """
    counts = np.asarray(calibration)
    weights = counts + 1 / (counts.shape[-1] - 2)
    for start in range(0, draws, _BLOCK):
        gamma = rng.standard_gamma(weights, size=(min(_BLOCK, draws - start), *counts.shape))
        yield (gamma / gamma.sum(axis=-1, keepdims=True))[..., : len(counts)]
