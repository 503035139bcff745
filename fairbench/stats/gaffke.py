"""An interval of a mean that asks for nothing but bounded values: Gaffke's, computed exactly."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.stats.estimands import Floats

FEWEST: Final = 10
"""Prompts that a statement on other prompts needs: of fewer, the interval would leave hardly anything out."""
TOO_FEW: Final = f"{FEWEST} prompts are needed for a statement on other prompts"
_ROUNDING: Final = 1e-9
_ROUNDS: Final = 60
_LEVEL_ERROR: Final = 1e-9
"""The search for a quantile ends where the probability differs by no more than this."""


def mean_interval(values: Floats, lowest: float, highest: float, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the limits (...) of the mean of a variable in [lowest, highest], from independent values (..., n) of it.

    Each limit alone errs with (1 - confidence) / 2. The upper one is that quantile of the mean of the values and one
    more at `highest` under weights that are uniform on the simplex; the lower one is its mirror image (Gaffke, "Three
    test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable", 2005;
    Learned-Miller and Thomas, "A new confidence interval for the mean of a bounded random variable", 2020). It allows
    for values that were not seen, so it covers where most values agree and a few, perhaps none of those drawn, are
    extreme: where Student's t covers least. That it covers for every distribution is a conjecture that no simulation
    has refuted. The quantiles are exact: nothing is drawn at random.
    Raises ValueError for no value, or for values outside the range.
    """
    x = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    slack = _ROUNDING * (highest - lowest)
    if not x.shape[-1] or not ((lowest - slack <= x) & (x <= highest + slack)).all():  # false for NaN
        raise ValueError(f"one value or more in [{lowest:g}, {highest:g}] is needed, got {x.tolist()}")
    x, tail = np.clip(x, lowest, highest), (1 - confidence) / 2
    low = np.concatenate([np.full((*x.shape[:-1], 1), lowest), x], axis=-1)
    high = np.concatenate([x, np.full((*x.shape[:-1], 1), highest)], axis=-1)
    return weighted_mean_quantile(low, tail), weighted_mean_quantile(high, 1 - tail)


def weighted_mean_quantile(points: Floats, level: float) -> Floats:
    """Return the quantile (...) of the mean of sorted points (..., m) under weights that are uniform on the simplex."""
    low, high = points[..., 0].copy(), points[..., -1].copy()
    below, above = np.zeros(low.shape), np.ones(low.shape)
    middle = low
    for step in range(_ROUNDS):
        # Secants find the quantile in a few steps where the distribution is smooth; halving never fails.
        way = (level - below) / (above - below) if step % 2 else 0.5
        middle = low + way * (high - low)
        reached = weighted_mean_cdf(points, middle)
        if ((np.abs(reached - level) < _LEVEL_ERROR) | (high - low < _ROUNDING)).all():
            break
        under = reached < level
        low, below = np.where(under, middle, low), np.where(under, reached, below)
        high, above = np.where(under, high, middle), np.where(under, above, reached)
    return middle


def weighted_mean_cdf(points: Floats, at: ArrayLike) -> Floats:
    """Return P(mean <= at) (...) of sorted points (..., m) whose weights are uniform on the simplex.

    Its density is the B-spline with these knots (Curry and Schoenberg 1966), so its distribution function follows from
    the recursion of B-splines: of the points i..j

        F_ij(t) = ((t - z_i) F_i,j-1(t) + (z_j - t) F_i+1,j(t)) / (z_j - z_i)    for z_i <= t <= z_j

    Only means of numbers in [0, 1] are taken, so nothing cancels, at any number of points and with ties.
    """
    t = np.asarray(at, dtype=np.float64)[..., None]
    cdf = (points <= t).astype(np.float64)
    for degree in range(1, points.shape[-1]):
        first, last = points[..., :-degree], points[..., degree:]
        span = np.where(last > first, last - first, 1.0)  # of equal points both terms are alike
        weight = np.clip((t - first) / span, 0.0, 1.0)
        cdf = cdf[..., 1:] + weight * (cdf[..., :-1] - cdf[..., 1:])
    return np.asarray(cdf[..., 0])
