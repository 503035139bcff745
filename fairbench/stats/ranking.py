"""Several runs over the same prompts: ranks, and how sure they are. The lower the value, the better the rank.

A rank interval says which ranks a run could hold, given what the pairwise comparisons can and cannot tell apart. Two
runs whose intervals overlap are not ordered by the data, whatever their means say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr
from scipy.stats import rankdata

from fairbench.stats.estimands import IntArray
from fairbench.stats.paired import ROUNDING
from fairbench.types import FloatArray

DECIMALS = 12
"""Means are rounded to this many decimals, so that runs that tie still tie when prompts come in another order."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Ranks of M runs, all arrays of shape (M,); 1 is best and equal means share the better rank.

    low, high: the best and the worst rank that the data allow. n_left_out: prompts that at least one run lacks.
    """

    mean: FloatArray
    rank: IntArray
    low: IntArray
    high: IntArray
    n_prompts: int
    n_left_out: int


def rank_intervals(values: ArrayLike, level: float = 0.95) -> Ranks:
    """Rank M runs by the mean of their prompt values (M, P); the intervals hold for all runs at once, at `level`.

    low = 1 + the number of runs shown to be better; high = M - the number shown to be worse (`shown_better`). Where
    true means tie, the interval covers every rank that the tied runs could be given. Prompts with NaN in any run are
    left out for all; with no common prompt the means are NaN and every run could hold every rank. Raises ValueError
    where `values` is not a matrix of at least one run.

    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, Inference for ranks; Al Mohamad, Goeman and van Zwet 2022.
    """
    common, n_left_out = _common(values)
    runs, prompts = common.shape
    mean = common.mean(axis=1) if prompts else np.full(runs, np.nan)
    # Without a common prompt all means are NaN, and all runs tie.
    rank = rankdata(np.nan_to_num(np.round(mean, DECIMALS)), method="min").astype(np.int64)
    better = shown_better(values, level)
    return Ranks(mean, rank, 1 + better.sum(axis=0), runs - better.sum(axis=1), prompts, n_left_out)


def shown_better(values: ArrayLike, level: float = 0.95) -> NDArray[np.bool_]:
    """Return the matrix (M, M) of "run i is shown to be better than run j"; neither way means that they tie.

    One-sided paired t tests of all M (M - 1) ordered pairs at level (1 - level) / (M (M - 1)): the chance of any
    false order is at most 1 - level under any dependence between the runs. One step (Bonferroni), not Holm's steps:
    with Holm a run that gets better can lose places, because the shift spends or frees steps of other pairs. Where
    two runs differ by the same amount in every prompt, the sign-flip p-value 2^-P stands in for t.
    """
    common, _ = _common(values)
    runs, prompts = common.shape
    if runs < 2 or prompts < 2:
        return np.zeros((runs, runs), dtype=bool)
    gain = common[None, :, :] - common[:, None, :]  # [i, j] > 0: i is better
    estimate = gain.mean(axis=-1)
    se = gain.std(axis=-1, ddof=1) / np.sqrt(prompts)
    constant = np.ptp(gain, axis=-1) <= ROUNDING
    t = np.divide(estimate, se, out=np.zeros_like(se), where=~constant)
    exact = np.where(estimate > ROUNDING, 0.5**prompts, 1.0)
    p_values = np.where(constant, exact, stdtr(prompts - 1, -t))
    shown: NDArray[np.bool_] = p_values <= (1 - level) / (runs * (runs - 1))
    return shown


def _common(values: ArrayLike) -> tuple[FloatArray, int]:
    """Return the values of the prompts that every run has, (M, n), and how many prompts were left out."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or not len(matrix):
        raise ValueError(f"values are a matrix of runs x prompts, got shape {matrix.shape}")
    complete = ~np.isnan(matrix).any(axis=0)
    return matrix[:, complete], int(np.count_nonzero(~complete))
