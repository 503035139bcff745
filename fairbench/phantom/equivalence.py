"""Do counted images reproduce a known table? An equivalence test (TOST): passing takes evidence, not its absence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from fairbench.types import FloatArray

MARGIN = 0.10
"""Largest difference of a cell's share that counts as the same. Where the truth is met, 8 prompts of 800 faces each
practically always pass; of 400 faces each, all 8 pass half the time."""


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The decision on every prompt.

    n: faces (P,). reach: (P,), the largest distance between a cell's true share and either end of its interval, in
    [0, 1]: the smallest margin that the prompt would (just not) pass. equivalent: (P,), reach < margin.
    """

    n: NDArray[np.int64]
    reach: FloatArray
    equivalent: NDArray[np.bool_]
    margin: float
    alpha: float

    @property
    def overall(self) -> bool:
        """Whether every prompt is equivalent."""
        return bool(self.equivalent.all())


def equivalence(
    counts: NDArray[np.int64], truth: FloatArray, *, margin: float = MARGIN, alpha: float = 0.05
) -> Equivalence:
    """Test for every prompt that all its shares lie within `margin` of the truth. counts, truth: (P prompts, K cells).

    Two one-sided exact binomial tests a cell, each at alpha / P: both reject where the Clopper-Pearson interval with
    that much in either tail lies inside (truth - margin, truth + margin). A prompt must pass in all cells, which needs
    no correction (intersection-union); dividing by P keeps the chance that any prompt passes wrongly below `alpha`.
    A prompt without faces does not pass.

    Raises ValueError: shapes that differ, no prompts, rows of `truth` that are no shares, margin or alpha out of range.
    """
    counts, truth = np.asarray(counts), np.asarray(truth, dtype=np.float64)
    if counts.ndim != 2 or counts.shape != truth.shape or not counts.size:
        raise ValueError(f"counts and truth must both be (prompts, cells), not {counts.shape} and {truth.shape}")
    if (truth < 0).any() or not np.allclose(truth.sum(axis=1), 1, atol=1e-6):
        raise ValueError("each row of truth must hold shares that sum to 1")
    if not (0 < margin < 1 and 0 < alpha < 0.5):
        raise ValueError("margin must lie in (0, 1) and alpha in (0, 0.5)")
    n = counts.sum(axis=1)
    low, high = interval(counts, n[:, None], alpha / len(counts))
    reach = np.maximum(truth - low, high - truth).max(axis=1)
    return Equivalence(n, reach, (reach < margin) & (n > 0), margin, alpha)


def interval(x: NDArray[np.int64], n: NDArray[np.int64], tail: float) -> tuple[FloatArray, FloatArray]:
    """Return the Clopper-Pearson bounds of a share, x of n, each with at most `tail` of probability beyond it."""
    # Where x is 0 or n, one of beta's parameters is 0 and the bound is 0 or 1 by definition.
    low = np.where(x == 0, 0.0, beta.ppf(tail, np.maximum(x, 1), n - x + 1))
    high = np.where(x == n, 1.0, beta.ppf(1 - tail, x + 1, np.maximum(n - x, 1)))
    return low, high
