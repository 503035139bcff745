"""Random samples of images, stratified within each prompt: how many come from each stratum, and how likely each was."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairbench.types import FloatArray


def allocate(sizes: ArrayLike, n: int) -> NDArray[np.int64]:
    """Return how many of n images to draw from each stratum (H,); all of them where there are no more than n.

    sizes: images of each stratum (H,), at least 1. Two of every stratum come first (its only one where it has one),
    because the variance within a stratum needs pairs; the others go in proportion to the sizes (Sainte-Laguë's rule).
    Raises ValueError where n is too small for that.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    drawn: NDArray[np.int64] = np.minimum(sizes, 2)
    n = min(n, int(sizes.sum()))
    if drawn.sum() > n:
        raise ValueError(f"{len(sizes)} strata need {drawn.sum()} images, not {n}")
    for _ in range(n - int(drawn.sum())):
        claim = np.where(drawn < sizes, sizes / (2 * drawn + 1), 0.0)
        drawn[int(claim.argmax())] += 1
    return drawn


def inclusion(sizes: ArrayLike, drawn: ArrayLike) -> FloatArray:
    """Return the probability (H,) that one image of each stratum is in the sample: n_h / N_h."""
    return np.asarray(drawn, dtype=np.float64) / np.asarray(sizes, dtype=np.float64)


def pair_inclusion(sizes: ArrayLike, drawn: ArrayLike) -> FloatArray:
    """Return the probability (H, H) that two different images of strata g and h are both in the sample.

    Within a stratum n_h (n_h - 1) / (N_h (N_h - 1)); 0 where a stratum has one image, and so no pair. Between strata,
    which are drawn independently, the product of both probabilities (Särndal, Swensson and Wretman 1992, section 3.7).
    """
    size, n = np.asarray(sizes, dtype=np.float64), np.asarray(drawn, dtype=np.float64)
    both = np.outer(n / size, n / size)
    np.fill_diagonal(both, n * (n - 1) / np.where(size > 1, size * (size - 1), np.inf))
    return both
