"""Many tests at once: adjusted p-values, to be compared with the level itself.

Holm for the few primary comparisons (no false claim at all, in 95 of 100 studies); Benjamini-Hochberg for the many
exploratory ones (of the claims made, at most 5 % false on average).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairbench.types import FloatArray


def holm(p_values: ArrayLike) -> FloatArray:
    """Return Holm's adjusted p-values of p[..., m]; each row of the last axis is one family.

    Controls the probability of any false rejection, whatever the dependence between the tests. NaN is a test that
    could not be done: it stays NaN and does not count towards m. Raises ValueError for values outside [0, 1].

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p, order, tests = _sorted(p_values)
    steps = np.arange(p.shape[-1])
    return _unsorted(np.maximum.accumulate(p * np.maximum(tests - steps, 1), axis=-1), order)


def benjamini_hochberg(p_values: ArrayLike) -> FloatArray:
    """Return Benjamini-Hochberg adjusted p-values of p[..., m]; each row of the last axis is one family.

    Controls the expected share of false rejections for independent or positively dependent tests. NaN as in `holm`.
    Raises ValueError for values outside [0, 1].

    Source: Benjamini and Hochberg 1995, Controlling the false discovery rate.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """
    p, order, tests = _sorted(p_values)
    scaled = (p * tests / np.arange(1, p.shape[-1] + 1))[..., ::-1]
    # fmin: the NaN of missing tests lie at the end of the sorted row, where the running minimum starts.
    return _unsorted(np.fmin.accumulate(scaled, axis=-1)[..., ::-1], order)


def _sorted(p_values: ArrayLike) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    """Return the p-values in ascending order (NaN last), the order, and the number of tests done in each row."""
    p = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p-values lie in [0, 1]")
    order = np.argsort(p, axis=-1, kind="stable")
    tests = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    return np.take_along_axis(p, order, axis=-1), order, np.asarray(tests)


def _unsorted(adjusted: FloatArray, order: np.ndarray) -> FloatArray:
    """Put adjusted values back in the caller's order, at most 1."""
    result = np.empty_like(adjusted)
    np.put_along_axis(result, order, np.minimum(adjusted, 1.0), axis=-1)
    return result
