"""An interval of a mean that asks for nothing but bounded values: Gaffke's, computed exactly."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from fairbench.stats.estimands import Floats

FEWEST: Final = 10
"""Prompts that a statement on other prompts needs: of fewer, the interval would leave hardly anything out."""
TAKES: Final = f"that takes {FEWEST} prompts"
TOO_FEW: Final = f"{FEWEST} prompts are needed for a statement on other prompts"
_ROUNDING: Final = 1e-9
_ROUNDS: Final = 60
_LEVEL_ERROR: Final = 1e-9
"""The search for a quantile ends where the probability differs by no more than this."""
_CERTAIN: Final = 1e-300
"""Probabilities and densities are kept this far from 0, so that steps of the search are numbers."""


def mean_interval(values: Floats, lowest: float, highest: float, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the limits (...) of the mean of a variable in [lowest, highest], from independent values (..., n) of it.

    Each limit alone errs with (1 - confidence) / 2. The upper one is that quantile of the mean of the values and one
    more at `highest` under weights that are uniform on the simplex; the lower one is its mirror image (Gaffke, "Three
    test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable", 2005;
    Learned-Miller and Thomas, "A new confidence interval for the mean of a bounded random variable", 2020). It allows
    for values that were not seen, so it covers where most values agree and a few, perhaps none of those drawn, are
    extreme: where Student's t covers least. That it covers for every distribution is a conjecture that no simulation
    has refuted. The quantiles are exact: nothing is drawn at random.
    Raises ValueError for no value, for values outside the range, or where the range has no end.
    """
    if not np.isfinite([lowest, highest]).all():
        raise ValueError(f"the range of the values must be finite, got [{lowest:g}, {highest:g}]")
    x = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    slack = _ROUNDING * (highest - lowest)
    if not x.shape[-1] or not ((lowest - slack <= x) & (x <= highest + slack)).all():  # false for NaN
        raise ValueError(f"one value or more in [{lowest:g}, {highest:g}] is needed, got {x.tolist()}")
    x = np.clip(x, lowest, highest)
    low = np.concatenate([np.full((*x.shape[:-1], 1), lowest), x], axis=-1)
    high = np.concatenate([x, np.full((*x.shape[:-1], 1), highest)], axis=-1)
    # Mirrored, the upper limit is a lower one: both are looked for at once.
    lower, upper = weighted_mean_quantile(np.stack([low, -high[..., ::-1]]), (1 - confidence) / 2)
    return lower, -upper


def weighted_mean_quantile(points: Floats, level: float) -> Floats:
    """Return the quantile (...) of the mean of sorted points (..., m) under weights that are uniform on the simplex."""
    low, high = points[..., 0].copy(), points[..., -1].copy()
    goal = ndtri(level)
    middle = np.clip(points.mean(axis=-1) + goal * points.std(axis=-1) / np.sqrt(points.shape[-1] + 1), low, high)
    for _ in range(_ROUNDS):
        reached, density = _distribution(points, middle)
        under = reached < level
        low, high = np.where(under, middle, low), np.where(under, high, middle)
        if ((np.abs(reached - level) < _LEVEL_ERROR) | (high - low < _ROUNDING)).all():
            break
        # On the scale of normal deviates the distribution is nearly straight, so Newton's steps find the quantile in a
        # few; where one leaves the limits known so far, they are halved.
        deviate = ndtri(np.clip(reached, _CERTAIN, 1 - 1e-16))
        slope = np.maximum(density, _CERTAIN) / (np.exp(-(deviate**2) / 2) / np.sqrt(2 * np.pi))
        step = middle - (deviate - goal) / slope
        middle = np.where((low < step) & (step < high), step, (low + high) / 2)
    return np.asarray(middle)


def weighted_mean_cdf(points: Floats, at: ArrayLike) -> Floats:
    """Return P(mean <= at) (...) of sorted points (..., m) whose weights are uniform on the simplex.

    Its density is the B-spline with these knots (Curry and Schoenberg 1966), so its distribution function follows from
    the recursion of B-splines: of the points i..j

        F_ij(t) = ((t - z_i) F_i,j-1(t) + (z_j - t) F_i+1,j(t)) / (z_j - z_i)    for z_i <= t <= z_j

    Only means of numbers in [0, 1] are taken, so nothing cancels, at any number of points and with ties.
    """
    return _distribution(points, at)[0]


def _distribution(points: Floats, at: ArrayLike) -> tuple[Floats, Floats]:
    """Return `weighted_mean_cdf` and its derivative, (m - 1) (F_1,m-1 - F_2,m) / (z_m - z_1), both (...)."""
    t = np.asarray(at, dtype=np.float64)[..., None]
    cdf = (points <= t).astype(np.float64)
    density = np.zeros(cdf.shape[:-1])
    for degree in range(1, points.shape[-1]):
        first, last = points[..., :-degree], points[..., degree:]
        span = np.where(last > first, last - first, 1.0)  # of equal points both terms are alike
        weight = np.minimum(np.maximum((t - first) / span, 0.0), 1.0)
        fall = cdf[..., :-1] - cdf[..., 1:]
        density = degree * fall[..., 0] / span[..., 0]
        cdf = cdf[..., 1:] + weight * fall
    return np.asarray(cdf[..., 0]), np.asarray(density)
