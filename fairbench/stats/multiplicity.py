"""Many tests at once: adjusted p-values, to be compared with the level itself.

Holm for the few primary comparisons (no false claim at all, in 95 of 100 studies); Benjamini-Hochberg for the many
exploratory ones (of the claims made, at most 5 % false on average).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fairbench.types import FloatArray


def holm(p_values: ArrayLike) -> FloatArray:
    """Return Holm's adjusted p-values (m,) of one family of tests (m,).

    Controls the probability of any false rejection, whatever the dependence between the tests. NaN is a test that
    could not be done: it stays NaN and does not count towards m. Raises ValueError for values outside [0, 1].

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    return _adjusted(p_values, lambda p: np.maximum.accumulate(p * np.arange(p.size, 0, -1)))


def benjamini_hochberg(p_values: ArrayLike) -> FloatArray:
    """Return Benjamini-Hochberg adjusted p-values (m,) of one family of tests (m,).

    Controls the expected share of false rejections for independent or positively dependent tests. NaN as in `holm`,
    which `scipy.stats.false_discovery_control` refuses. Raises ValueError for values outside [0, 1].

    Source: Benjamini and Hochberg 1995, Controlling the false discovery rate.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """
    return _adjusted(p_values, lambda p: np.minimum.accumulate((p * p.size / np.arange(1, p.size + 1))[::-1])[::-1])


def _adjusted(p_values: ArrayLike, steps: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Return the p-values after `steps`, which takes those of the tests done in ascending order; at most 1."""
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p-values lie in [0, 1]")
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(steps(p[order]), 1.0)
    return adjusted
