"""One prompt: intervals of its shares, and bounds of its RD and its concentration by inverting tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import bdtr, betaincinv

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, concentration_of_shares, shares
from fairbench.types import FloatArray

_ROUNDING: Final = 1e-9
_STEPS: Final = 8
_EXACT_STEPS: Final = 20
"""How often the search on a path is halved: a bound is rounded outwards to 1/256 of the path, or to a millionth."""
_BLOCK: Final = 50
"""Prompts whose faces are drawn at a time: 10 MB for 8 classes and 400 draws."""

Statistic = Callable[[Floats], FloatArray]
"""Shares (..., K) -> a value (...) that is 0 at balance and largest for one class alone."""


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


def rd_bounds(counts: IntArray, rng: np.random.Generator, draws: int = 2000) -> tuple[Floats, Floats]:
    """Return a lower and an upper bound (P,) of each prompt's true RD, each one-sided at 95 % confidence.

    counts: (P, K), one face per image. See `_inverted`. For a fair model the lower bound is 0 as often as it should be,
    and for images of one class the upper bound is 2/K, where percentile and BCa intervals miss both. (0, 2/K) where
    there is no face.
    """
    return _inverted(counts, relative_diversity, 1 - 0.95, rng, draws)


def concentration_bounds(counts: IntArray, rng: np.random.Generator, draws: int = 2000) -> tuple[Floats, Floats]:
    """Return the limits (P,) of a 95 % interval of each prompt's true concentration, in [0, 1].

    counts: (P, K), one face per image. Each limit errs with 2.5 %; see `_inverted`. The normal interval of a single
    prompt covers .64 to .90 only: its variance is too small wherever the estimate is too small. For K = 2 these are
    the bounds of RD at that level, squared. (0, 1) where there is no face.
    """
    return _inverted(counts, concentration_of_shares, (1 - 0.95) / 2, rng, draws)


def _inverted(
    counts: IntArray, statistic: Statistic, alpha: float, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """Return the bounds (P,) of a statistic's true value that invert tests of level `alpha`.

    A test rejects a share vector under which so large (so small) a statistic of the observed shares is as rare as
    `alpha`. A vector has more freedom than its statistic, so the test runs along paths from balance, through the
    observed shares and beyond, and to vectors in which 1, K/2 or K - 1 classes share everything; the bounds are the
    widest that any path gives. K = 2 has one path and is exact; for K > 2 the probabilities are Monte Carlo over
    `draws`. On a path the statistic never falls, so each bound is found by halving.
    """
    low, high = np.zeros(len(counts)), np.full(len(counts), float(statistic(np.eye(counts.shape[1])[0])))
    some = np.flatnonzero(counts.sum(axis=1))
    for start in range(0, len(some), _BLOCK):
        block = some[start : start + _BLOCK]
        low[block], high[block] = _bounds(counts[block], statistic, alpha, rng, draws)
    return low, high


def _bounds(
    counts: IntArray, statistic: Statistic, alpha: float, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    paths = np.stack([_paths(of_prompt) for of_prompt in counts])  # (P, W, 3, K)

    def accepted(positions: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return where the tests do not reject, for positions (2, P, W): those of the lower bound, of the upper one."""
        return np.stack(_tails(_along(paths, positions), counts, statistic, rng, draws)) > alpha

    ends = np.zeros((2, *paths.shape[:2]))
    at_balance, at_end = accepted(ends), accepted(ends + 1.0)
    below, above = ends.copy(), ends + 1.0
    for _ in range(_EXACT_STEPS if counts.shape[1] == 2 else _STEPS):
        middle = (below + above) / 2
        inside = accepted(middle)
        # Towards the end of a path the test of the lower bound comes to accept, that of the upper one to reject.
        upwards = np.stack([~inside[0], inside[1]])
        below, above = np.where(upwards, middle, below), np.where(upwards, above, middle)
    first, last = np.where(at_balance[0], 0.0, below[0]), np.where(at_end[1], 1.0, above[1])
    low, high = statistic(_along(paths, np.stack([first, last])))
    # A path on which no vector is accepted says nothing. On the one through the observed shares some always are.
    low, high = np.where(at_end[0] | at_balance[0], low, np.inf), np.where(at_balance[1], high, -np.inf)
    observed = statistic(shares(counts))
    return np.minimum(low.min(axis=1), observed), np.maximum(high.max(axis=1), observed)


def _paths(counts: IntArray) -> Floats:
    """Return paths of share vectors, as three corners each (W, 3, K), on which no statistic falls, all from balance.

    Those that end where m classes share everything, and, for K > 2, the one through the observed shares: straight on to
    the edge of what is possible, then to the class that is largest.
    """
    classes = len(counts)
    balance = np.full(classes, 1 / classes)
    ends = [np.where(np.arange(classes) < m, 1 / m, 0.0) for m in sorted({1, classes // 2, classes - 1})]
    paths = [np.stack([balance, (balance + end) / 2, end]) for end in ends[: classes - 1]]
    away = shares(counts) - balance
    if classes > 2:
        edge = np.maximum(balance - away / (away.min() * classes), 0.0) if away.any() else ends[0]
        paths.append(np.stack([balance, edge, np.eye(classes)[away.argmax()]]))
    return np.stack(paths)


def _along(paths: Floats, positions: Floats) -> Floats:
    """Return the share vectors (2, P, W, K) at positions (2, P, W) in [0, 1] along paths (P, W, 3, K)."""
    first, middle, last = (paths[None, ..., corner, :] for corner in range(3))
    way = 2 * positions[..., None]
    p = np.where(way < 1, first + way * (middle - first), middle + (way - 1) * (last - middle))
    p = np.clip(p, 0.0, 1.0)  # rounding alone can leave [0, 1]
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


def _tails(
    p: Floats, counts: IntArray, statistic: Statistic, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """Return P(statistic >= observed) under shares p[0] and P(statistic <= observed) under p[1], both (P, W)."""
    n = counts.sum(axis=1)[:, None]
    if p.shape[-1] == 2:
        most = counts.max(axis=1)[:, None]
        fewest = n - most
        beyond = np.where(fewest > 0, bdtr(np.maximum(fewest - 1, 0), n, p[1, ..., 0]), 0.0)
        as_small = bdtr(most, n, p[1, ..., 0]) - beyond
        as_large = bdtr(fewest, n, p[0, ..., 0]) + bdtr(fewest, n, p[0, ..., 1])  # either class the smaller
        return np.where(most == fewest, 1.0, as_large), as_small
    drawn = rng.multinomial(n[..., None], p[..., None, :], size=(*p.shape[:-1], draws))
    values, observed = statistic(drawn / n[..., None, None]), statistic(shares(counts))[:, None, None]
    as_large, as_small = values[0] >= observed - _ROUNDING, values[1] <= observed + _ROUNDING
    return as_large.mean(axis=-1), as_small.mean(axis=-1)
