"""One prompt: intervals of its shares, and one-sided bounds of its RD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, shares

_ALPHA: Final = 1 - 0.95
"""Level of each of the two one-sided tests that the bounds of RD invert. In floating point it lies a hair above .05, so
that a sum of weights which rounding lifts above .05 is still no more than it."""
_GRID: Final = 17
"""Points of the search grid on a path; a second grid lies inside the interval that the first finds."""
_ROUNDING: Final = 1e-9

Tails = Callable[[Floats], tuple[Floats, Floats]]
"""Positions 0..1 along a path -> P(RD at least as large as observed) and P(RD at most as large) there."""


def share_interval(counts: IntArray, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return lower and upper limits (..., K) of the shares, each class by itself, from counts (..., K).

    Quantiles of the marginals Beta(n_k + 1/2, n - n_k + 1/2): Jeffreys' interval of the class against the rest, with a
    limit of exactly 0 where the class did not occur and of 1 where no other did (Brown, Cai and DasGupta 2001). NaN
    where there is no face.
    """
    n = counts.sum(axis=-1, keepdims=True)
    rest = n - counts
    tail = (1 - confidence) / 2
    low = np.where(counts == 0, 0.0, betaincinv(counts + 0.5, rest + 0.5, tail))
    high = np.where(rest == 0, 1.0, betaincinv(counts + 0.5, rest + 0.5, 1 - tail))
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def rd_bounds(counts: IntArray, rng: np.random.Generator, draws: int = 2000) -> tuple[float, float]:
    """Return a lower and an upper bound of the true RD of one prompt, each one-sided at 95 % confidence.

    counts: (K,), one face per image. The bounds invert the test that rejects a share vector under which so large (so
    small) an RD of the shares is rarer than 5 %. A vector has more freedom than its RD, so the test runs along paths
    from balance, through the observed shares and beyond, and to vectors in which 1, K/2 or K - 1 classes share
    everything; the bounds are the widest that any path gives. K = 2 has one path and is exact; for K > 2 the
    probabilities are Monte Carlo over `draws`. For a fair model the lower bound is 0 as often as it should be, and for
    images of one class the upper bound is 2/K, where percentile and BCa intervals miss both. (0, 2/K) where there is
    no face.
    """
    classes, n = len(counts), int(counts.sum())
    if n == 0:
        return 0.0, 2 / classes
    observed = float(relative_diversity(shares(counts)))
    lows, highs = [], []
    for path in _paths(counts):

        def tails(positions: Floats, path: Floats = path) -> tuple[Floats, Floats]:
            return _tails(_along(path, positions), n, observed, rng, draws)

        low, high = relative_diversity(_along(path, np.array(_accepted(tails))))
        lows.append(float(low))
        highs.append(float(high))
    return min(lows), max(highs)


def _paths(counts: IntArray) -> list[Floats]:
    """Return paths of share vectors, as corners (W, K), on which RD never falls: all start at balance.

    Those that end where m classes share everything, and, for K > 2, the one through the observed shares: straight on to
    the edge of what is possible, then to the class that is largest.
    """
    classes = len(counts)
    balance = np.full(classes, 1 / classes)
    ends = [np.where(np.arange(classes) < m, 1 / m, 0.0) for m in sorted({1, classes // 2, classes - 1})]
    paths = [np.stack([balance, end]) for end in ends[: classes - 1]]
    away = shares(counts) - balance
    if classes > 2 and away.any():
        edge = np.maximum(balance - away / (away.min() * classes), 0.0)
        paths.append(np.stack([balance, edge, np.eye(classes)[away.argmax()]]))
    return paths


def _along(path: Floats, positions: Floats) -> Floats:
    """Return the share vectors (L, K) at positions (L,) along a path, 0 its start and 1 its end."""
    legs_passed = positions * (len(path) - 1)
    leg = np.minimum(legs_passed.astype(int), len(path) - 2)
    rest = (legs_passed - leg)[:, None]
    p = np.clip((1 - rest) * path[leg] + rest * path[leg + 1], 0.0, 1.0)  # rounding alone can leave [0, 1]
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _tails(p: Floats, n: int, observed: float, rng: np.random.Generator, draws: int) -> tuple[Floats, Floats]:
    """Return P(RD >= observed) and P(RD <= observed) of n faces under shares p (L, K)."""
    if p.shape[1] == 2:
        first = np.arange(n + 1)
        value, weight = np.abs(2 * first / n - 1), binom.pmf(first, n, p[:, :1])
    else:
        drawn = rng.multinomial(n, p[:, None], size=(len(p), draws))
        value, weight = relative_diversity(drawn / n), np.full((len(p), draws), 1 / draws)
    as_large, as_small = value >= observed - _ROUNDING, value <= observed + _ROUNDING
    return (weight * as_large).sum(axis=1), (weight * as_small).sum(axis=1)


def _accepted(tails: Tails) -> tuple[float, float]:
    """Return the first position (1: none) and the last (0: none) that the one-sided tests do not reject.

    Both are rounded outwards, to 1/(_GRID - 1)^2.
    """
    grid = np.linspace(0.0, 1.0, _GRID)
    large, small = (tail > _ALPHA for tail in tails(grid))
    first, last = 1.0, 0.0
    if large.any():
        # The first accepted position lies between this point of the grid and the one before.
        start = int(large.argmax())
        fine = np.linspace(grid[max(start - 1, 0)], grid[start], _GRID)
        first = float(fine[max(int((tails(fine)[0] > _ALPHA).argmax()) - 1, 0)]) if start else 0.0
    if small.any():
        # The last one lies between this point and the one after.
        stop = _GRID - 1 - int(small[::-1].argmax())
        after = grid[min(stop + 1, _GRID - 1)]
        fine = np.linspace(grid[stop], after, _GRID)
        rejected = tails(fine)[1] <= _ALPHA
        last = float(fine[int(rejected.argmax())]) if rejected.any() else float(after)
    return first, last
