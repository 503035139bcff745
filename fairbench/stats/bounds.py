"""One prompt: intervals of its shares, and one-sided bounds of its RD."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom

from fairbench.metrics.rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, shares

_STEPS = 17
"""Points of a search grid on one line of share vectors; a second grid lies inside the interval that the first finds."""
_ROUNDING = 1e-9


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


def rd_bounds(
    counts: IntArray, rng: np.random.Generator, confidence: float = 0.95, draws: int = 2000
) -> tuple[float, float]:
    """Return a lower and an upper bound of the true RD of one prompt, each one-sided at `confidence`.

    counts: (K,), one face an image. The bounds invert the test that rejects a share vector under which so large (so
    small) an RD of the shares is rarer than 1 - confidence. A vector has more freedom than its RD, so the test runs
    along paths from balance, through the observed shares and beyond, and to vectors in which 1, K/2 or K - 1 classes
    share everything; the bounds are the widest that any path gives. K = 2 has one path and is exact; for K > 2 the
    probabilities are Monte Carlo over `draws`. For a fair model the lower bound is 0 as often as it should be, and for
    images of one class the upper bound is 2/K, where percentile and BCa intervals miss either. (0, 2/K) where there is
    no face.
    """
    classes, n = len(counts), int(counts.sum())
    if n == 0:
        return 0.0, 2 / classes
    seen = float(relative_diversity(shares(counts)))
    lows, highs = [], []
    for path in _paths(counts):

        def tails(reach: Floats, path: Floats = path) -> tuple[Floats, Floats]:
            """Return P(RD >= seen) and P(RD <= seen) under the shares so far (0..1) along the path."""
            return _tails(_along(path, reach), n, seen, rng, draws)

        first, last = relative_diversity(_along(path, np.array(_accepted(tails, 1 - confidence))))
        lows.append(float(first))
        highs.append(float(last))
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


def _along(path: Floats, reach: Floats) -> Floats:
    """Return the share vectors (L, K) at so much (L,) of a path, 0 its start and 1 its end."""
    position = reach * (len(path) - 1)
    leg = np.minimum(position.astype(int), len(path) - 2)
    rest = (position - leg)[:, None]
    p = np.clip((1 - rest) * path[leg] + rest * path[leg + 1], 0.0, 1.0)  # rounding alone can leave [0, 1]
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _tails(p: Floats, n: int, seen: float, rng: np.random.Generator, draws: int) -> tuple[Floats, Floats]:
    """Return P(RD >= seen) and P(RD <= seen) of n faces under shares p (L, K)."""
    if p.shape[1] == 2:
        first = np.arange(n + 1)
        value, weight = np.abs(2 * first / n - 1), binom.pmf(first, n, p[:, :1])
    else:
        drawn = rng.multinomial(n, p[:, None], size=(len(p), draws))
        value, weight = relative_diversity(drawn / n), np.full((len(p), draws), 1 / draws)
    as_large, as_small = value >= seen - _ROUNDING, value <= seen + _ROUNDING
    return (weight * as_large).sum(axis=1), (weight * as_small).sum(axis=1)


def _accepted(tails: Callable[[Floats], tuple[Floats, Floats]], alpha: float) -> tuple[float, float]:
    """Return the first point (1: none) and the last (0: none) of 0..1 that the one-sided tests do not reject.

    Both are rounded outwards, to 1/(_STEPS - 1)^2.
    """
    grid = np.linspace(0.0, 1.0, _STEPS)
    large, small = (tail > alpha for tail in tails(grid))
    first, last = 1.0, 0.0
    if large.any():
        start = int(large.argmax())
        fine = np.linspace(grid[max(start - 1, 0)], grid[start], _STEPS)
        first = float(fine[max(int((tails(fine)[0] > alpha).argmax()) - 1, 0)]) if start else 0.0
    if small.any():
        stop = _STEPS - 1 - int(small[::-1].argmax())
        fine = np.linspace(grid[stop], grid[min(stop + 1, _STEPS - 1)], _STEPS)
        rejected = tails(fine)[1] <= alpha
        last = float(fine[int(rejected.argmax())]) if rejected.any() else float(grid[min(stop + 1, _STEPS - 1)])
    return first, last
