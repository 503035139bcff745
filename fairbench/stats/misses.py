"""What missed faces could hide when nothing is known about them: bounds that hold whatever groups they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import IntArray, shares
from fairbench.types import FloatArray


def rd_bounds(read: ArrayLike, missed: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the least and the largest RD that read and missed people together can have, both (...).

    read: counts of read faces (..., K); missed (...): images in which no face was found. RD is Schur-convex, so the
    most even and the most uneven allocation attain it. The bounds also cover images that show nobody, as fewer missed
    people move a share less. NaN where there is neither. Sampling error and misreadings come on top.
    """
    even, uneven = (relative_diversity(shares(counts)) for counts in extreme_allocations(read, missed))
    return even, uneven


def concentration_bounds(kinds: IntArray, times: IntArray, missed: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the least and the largest unbiased estimate of concentration (P,) with missed people, one per image.

    kinds (T, K), times (P, T): images by the class counts of their faces, as in `stats.units`; missed: (P,). The sum
    over pairs of faces from different images depends on the missed people's classes through the sum of squares of the
    total counts alone, which is Schur-convex. NaN below two images.
    """
    counts, m = _counts(times @ kinds, missed)
    sizes, classes = kinds.sum(axis=1), kinds.shape[1]
    within = times @ (kinds**2).sum(axis=1) + m
    pairs = (counts.sum(axis=1) + m) ** 2 - times @ sizes**2 - m
    bounds = []
    for total in extreme_allocations(counts, m):
        same = np.where(pairs > 0, ((total**2).sum(axis=1) - within) / np.maximum(pairs, 1), np.nan)
        bounds.append(np.asarray((classes * same - 1) / (classes - 1), dtype=np.float64))
    return bounds[0], bounds[1]


def extreme_allocations(read: ArrayLike, missed: ArrayLike) -> tuple[IntArray, IntArray]:
    """Return the most even and the most uneven counts (..., K) after giving every missed person a class.

    Every allocation of all missed people majorises the first and is majorised by the second, so that these bound any
    Schur-convex value of the shares (RD, concentration, the majority's share; entropy with its sign turned). Even: the
    smallest classes are filled up to one level, the remainder one each. Uneven: all go to the largest class.
    """
    n, m = _counts(read, missed)
    order = np.argsort(n, axis=-1, kind="stable")
    ascending = np.take_along_axis(n, order, axis=-1)
    below = np.cumsum(ascending, axis=-1)
    index = np.arange(n.shape[-1])
    # To fill the t smallest classes up to the t-th takes t n_t - (n_1 + .. + n_t) people: so many classes are reached.
    reached = ((index + 1) * ascending - below <= m[..., None]).sum(axis=-1, keepdims=True)
    level, rest = np.divmod(np.take_along_axis(below, reached - 1, axis=-1) + m[..., None], reached)
    filled = np.where(index < reached, level + (index < rest), ascending)
    even, uneven = np.empty_like(n), n.copy()
    np.put_along_axis(even, order, filled, axis=-1)
    np.put_along_axis(uneven, order[..., -1:], ascending[..., -1:] + m[..., None], axis=-1)
    return even, uneven


def _counts(read: ArrayLike, missed: ArrayLike) -> tuple[IntArray, IntArray]:
    """Return both as whole numbers. Raises ValueError where they are negative or of other shapes."""
    n, m = np.asarray(read, dtype=np.int64), np.asarray(missed, dtype=np.int64)
    if n.shape[:-1] != m.shape or (n < 0).any() or (m < 0).any():
        raise ValueError(f"read (..., K) and missed (...) must be counts that fit, got {n.shape} and {m.shape}")
    return n, m
