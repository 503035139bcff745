"""What is estimated from class counts: shares, RD at a stated number of faces, `concentration`.

Counts are integer arrays (..., P, K): any leading axes (resamples), P prompts, the K *declared* classes. A prompt with
too few faces for a quantity gets NaN, and `task_mean` says how many prompts it left out for that reason.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from fairbench.metrics._rd import relative_diversity
from fairbench.types import FloatArray

IntArray = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

_CHUNK_CELLS = 1 << 17
"""Cells of one working array of `_mean_gap`: 1 MB, so that the dozen of them stays in a processor's cache."""


class TaskMean(NamedTuple):
    """The mean over the prompts that have a value (NaN: none has), their number, and the number of those without."""

    value: float
    used: int
    left_out: int


def task_mean(values: Floats) -> TaskMean:
    """Return the unweighted mean of prompt values (P,), NaN left out."""
    present = values[~np.isnan(values)]
    return TaskMean(float(present.mean()) if len(present) else float("nan"), len(present), len(values) - len(present))


def shares(counts: IntArray) -> Floats:
    """Return class shares (..., K) in [0, 1] of counts (..., K); NaN where there is no face."""
    n = counts.sum(axis=-1, keepdims=True)
    return np.where(n > 0, counts / np.maximum(n, 1), np.nan)


def pooled_rd(counts: IntArray) -> Floats:
    """Return the RD (...) of all faces of a task together, counts (..., P, K): each *face* weighs the same.

    Prompts that lean in opposite directions cancel here and do not in a mean of RD. NaN where no prompt has a face.
    """
    return np.asarray(relative_diversity(shares(counts.sum(axis=-2))))


def concentration(counts: IntArray) -> Floats:
    """Return the unbiased estimate (...) of (K sum p_k^2 - 1)/(K - 1) from counts (..., K).

    The estimand lies in [0, 1]: 0 is balance, 1 one class alone; for K = 2 it is RD^2, for all K the squared distance
    from balance over its largest value. sum p_k^2 is estimated by sum n_k (n_k - 1) / (n (n - 1)) (Simpson, Nature 163,
    1949), so the estimate is free of the chance floor, may be negative near balance (down to -1/(n - 1) for K = 2) and
    is not clipped: clipping would bring the floor back. NaN below two faces. It takes the faces for independent: for
    images with several faces see `intervals.concentration_interval`.
    """
    classes = counts.shape[-1]
    n = counts.sum(axis=-1)
    same = (counts * (counts - 1)).sum(axis=-1)
    concentration = np.where(n > 1, same / np.maximum(n * (n - 1), 1), np.nan)
    return np.asarray((classes * concentration - 1) / (classes - 1))


def concentration_of_shares(p: FloatArray) -> Floats:
    """Return (K sum p_k^2 - 1)/(K - 1) of true shares (..., K), in [0, 1]: what `concentration` estimates."""
    classes = p.shape[-1]
    return np.asarray((classes * (p**2).sum(axis=-1) - 1) / (classes - 1))


def effective_groups(concentration: ArrayLike, classes: int) -> Floats:
    """Return K/(1 + (K - 1) c) (...), cut to [1, K]: the number of equally frequent groups that are as concentrated.

    The Hill number of order 2 (Hill, Ecology 54, 1973); of parties, Laakso and Taagepera (1979). NaN where c is.
    """
    c = np.clip(np.asarray(concentration, dtype=np.float64), 0.0, 1.0)
    return np.asarray(classes / (1 + (classes - 1) * c))


def concentration_variance(p: FloatArray, faces: FloatArray | IntArray) -> Floats:
    """Return the variance (...) of `concentration` of so many independent faces (...) with shares (..., K).

    faces: two or more. With S_r = sum p_k^r, that of sum n_k (n_k - 1) / (n (n - 1)) is
    (4 (n - 2) (S_3 - S_2^2) + 2 (S_2 - S_2^2)) / (n (n - 1)).
    """
    classes = p.shape[-1]
    second, third = (p**2).sum(axis=-1), (p**3).sum(axis=-1)
    of_same = 4 * (faces - 2) * (third - second**2) + 2 * (second - second**2)
    return np.asarray(of_same / (faces * (faces - 1)) * (classes / (classes - 1)) ** 2)


def rd_at(counts: IntArray, n0: ArrayLike) -> Floats:
    """Return RD at n0 faces: the expected RD of n0 faces drawn without replacement from the counted ones, exactly.

    counts: (..., K). n0: at least 1; one number, or an array that broadcasts against counts.shape[:-1], such as one per
    prompt. Range [0, 2/K]. NaN where n0 exceeds the number of faces n; for n0 = n it is the RD of the shares.

    It is an unbiased estimate of the expected RD of n0 *independent* faces with the true shares, for every n >= n0 and
    all shares: a random n0 of n multinomial draws are n0 multinomial draws. As the counts are complete and sufficient,
    no unbiased estimate has a smaller variance. So two models whose face counts differ are compared at one n0, the
    smaller count; the value still holds the chance floor of n0 faces, which is common to both. Rarefaction: Hurlbert,
    Ecology 52, 1971. Raises ValueError for n0 < 1.
    """
    n = counts.sum(axis=-1)
    drawn = np.broadcast_to(np.asarray(n0), n.shape)
    if (drawn < 1).any():
        raise ValueError("rd_at: n0 must be at least 1")
    enough = drawn <= n
    values = np.full(n.shape, np.nan)
    every = enough & (drawn == n)
    values[every] = relative_diversity(counts[every] / n[every][:, None])
    enough &= drawn < n
    if not enough.any():
        return values
    ordered = np.sort(counts[enough], axis=-1).astype(np.int64)
    low, high = np.triu_indices(counts.shape[-1], 1)
    # Resamples repeat the same few pairs of counts over and over: every different one is computed once. A key holds the
    # index of (n, n0), the larger count and the smaller count.
    sizes, size_index = np.unique(np.stack([n[enough], drawn[enough]], axis=-1), axis=0, return_inverse=True)
    base = int(ordered.max(initial=0)) + 1
    keys = (size_index.reshape(-1, 1) * base + ordered[:, high]) * base + ordered[:, low]
    distinct, key_index = np.unique(keys, return_inverse=True)
    size_index, pair = np.divmod(distinct, base * base)
    gaps = _mean_gaps(*np.divmod(pair, base), *sizes[size_index].T)
    # RD is the mean gap over the pairs of classes.
    values[enough] = gaps[key_index.reshape(keys.shape)].mean(axis=-1)
    return values


def _mean_gaps(a: IntArray, b: IntArray, n: IntArray, n0: IntArray) -> Floats:
    """Return E|X_i - X_j|/n0 (U,) of n0 draws without replacement from n faces, a of class i and b <= a of class j."""
    log_factorial = gammaln(np.arange(int(n.max(initial=0)) + 1) + 1.0)
    order = np.argsort(n0, kind="stable")  # rows of one chunk are then about equally long
    values = np.empty(len(a))
    step = max(1, _CHUNK_CELLS // (int(n0.max(initial=1)) + 1))
    for start in range(0, len(a), step):
        rows = order[start : start + step]
        values[rows] = _mean_gap(a[rows], b[rows], n[rows], n0[rows], log_factorial) / n0[rows]
    return values


def _mean_gap(a: IntArray, b: IntArray, n: IntArray, n0: IntArray, log_factorial: Floats) -> Floats:
    """Return E|X_i - X_j| (U,), as the sum over m of P(X_i + X_j = m) E|S_m|.

    S_m is the walk +1, -1 that m draws from a times +1 and b times -1 make. As each step's mean is (a - b - S_m) /
    (a + b - m), with Z_m = P(S_m = 0) and G_m = P(S_m > 0) - P(S_m < 0)

        E|S_m+1| / (a + b - m - 1) = E|S_m| / (a + b - m) + (Z_m + (a - b) G_m / (a + b - m)) / (a + b - m - 1)
        G_m+1 = G_m + Z_m (a - b) / (a + b - m)

    (the sign can only change through 0, and a walk that is at 0 after an odd m came from either side equally often).
    All terms are non-negative: no cancellation at any size.
    """
    a, b, n, n0 = (x[:, None] for x in (a, b, n, n0))
    m = np.arange(int(n0.max()) + 1)
    left = a + b - m

    def log_choose(total: IntArray, part: IntArray) -> Floats:
        """Return the log of a binomial coefficient: -inf where part lies outside 0..total."""
        inside = (part >= 0) & (part <= total)
        part = np.where(inside, part, 0)
        value = log_factorial[total] - log_factorial[part] - log_factorial[total - part]
        return np.where(inside, value, -np.inf)

    # Z_m: equally many of both signs among m draws, possible for even m alone.
    at_zero = np.zeros(left.shape)
    half = m[: m.size : 2] // 2
    even = np.minimum(2 * half, a + b)  # where 2 half > a + b, b choose half is 0
    at_zero[:, ::2] = np.exp(log_choose(a, half) + log_choose(b, half) - log_choose(a + b, even))
    # G_m and E|S_m| by the recursions, each a sum over the steps before m.
    pull = (a - b) / np.maximum(left, 1)
    sign = _sums_before(at_zero * pull)
    rise = np.where(left > 1, (at_zero + pull * sign) / np.maximum(left - 1, 1), 0.0)
    gap = np.where(left > 0, left * _sums_before(rise), a - b)
    # P(X_i + X_j = m): hypergeometric.
    weight = np.exp(log_choose(a + b, m) + log_choose(n - a - b, n0 - m) - log_choose(n, n0))
    return np.asarray((weight * gap).sum(axis=1))


def _sums_before(terms: Floats) -> Floats:
    """Return, for every column, the sum of the columns before it."""
    return np.asarray(np.cumsum(terms, axis=1) - terms)
