"""Krippendorff's alpha: how far several people agree beyond chance, where some answers are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairbench.types import FloatArray

MISSING: Final = -1
"""The code of an answer that was not given."""
_CHUNK: Final = 250
"""Resamples that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Agreement of several people on U images.

    images: those with two answers or more; the others say nothing. agreement: the share of pairs of answers to one
    image that are equal, images weighted by their answers. alpha: 1 full agreement, 0 that of chance; NaN where only
    one answer occurs. low, high: 95 % limits, images drawn again (percentiles).
    """

    images: int
    agreement: float
    agreement_low: float
    agreement_high: float
    alpha: float
    low: float
    high: float


def reliability(answers: ArrayLike, classes: int, *, resamples: int = 2000, seed: int = 0) -> Reliability:
    """Return alpha and the agreement of nominal answers (U, A), codes below `classes` or MISSING, with intervals."""
    units = coincidences(answers, classes)
    images = int((units.sum(axis=(1, 2)) > 0).sum())
    whole = units.sum(axis=0)
    rng, flat = np.random.default_rng(seed), units.reshape(len(units), -1)
    draws = []
    for start in range(0, resamples if images else 0, _CHUNK):
        weights = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), min(_CHUNK, resamples - start))
        tables = (weights @ flat).reshape(-1, classes, classes)
        draws.append(np.stack([agreement(tables), alpha(tables)]))
    limits = np.full((2, 2), np.nan)
    for i, values in enumerate(np.concatenate(draws, axis=1) if draws else ()):
        values = values[np.isfinite(values)]
        if len(values):
            limits[i] = np.quantile(values, [0.025, 0.975])
    (agree_low, agree_high), (low, high) = limits.tolist()
    return Reliability(images, float(agreement(whole)), agree_low, agree_high, float(alpha(whole)), low, high)


def coincidences(answers: ArrayLike, classes: int) -> FloatArray:
    """Return each image's table (U, K, K) of pairs of answers by different people, divided by its answers less one.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), step 2. An image with fewer than two answers has
    a table of zeros. Raises ValueError for a code outside of the classes.
    """
    codes: NDArray[np.int64] = np.asarray(answers, dtype=np.int64)
    if codes.ndim != 2 or (codes < MISSING).any() or (codes >= classes).any():
        raise ValueError(f"answers (U, A) are codes below {classes} or {MISSING}, got shape {codes.shape}")
    counts = (codes[:, :, None] == np.arange(classes)).sum(axis=1).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, range(classes), range(classes)] -= counts
    others = counts.sum(axis=1) - 1
    return np.asarray(pairs / np.where(others > 0, others, np.inf)[:, None, None])


def alpha(table: FloatArray) -> FloatArray:
    """Return 1 - D_observed / D_expected of summed tables (..., K, K), nominal; NaN where only one answer occurs."""
    totals = table.sum(axis=-1)
    n = totals.sum(axis=-1)
    observed = n - np.trace(table, axis1=-2, axis2=-1)
    expected = n**2 - (totals**2).sum(axis=-1)  # times n - 1
    known = expected > 1e-9 * np.maximum(n**2, 1)
    return np.where(known, 1 - (n - 1) * observed / np.where(known, expected, 1), np.nan)


def agreement(table: FloatArray) -> FloatArray:
    """Return the share of equal pairs in summed tables (..., K, K); NaN where there is no pair."""
    n = table.sum(axis=(-2, -1))
    return np.where(n > 0, np.trace(table, axis1=-2, axis2=-1) / np.where(n > 0, n, 1), np.nan)
