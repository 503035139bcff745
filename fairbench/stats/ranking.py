"""Several runs over the same prompts: ranks, and how sure they are.

A rank interval says which places a run could hold, given what the pairwise comparisons can and cannot tell apart. Two
runs whose intervals overlap are not ordered by the data, whatever their means say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr
from scipy.stats import rankdata

from fairbench.stats.estimands import IntArray
from fairbench.stats.paired import ROUNDING, Better
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


def rank_intervals(values: ArrayLike, better: Better = "lower", level: float = 0.95) -> Ranks:
    """Rank M runs by the mean of their prompt values[M, P]; the intervals hold for all runs at once, at `level`.

    low = 1 + the number of runs shown to be better; high = M - the number shown to be worse (`shown_better`). Where
    true means tie, the interval covers every rank that the tied runs could be given. Prompts with NaN in any run are
    left out for all; with no common prompt the means are NaN and every run could hold every rank. Raises ValueError
    where `values` is not a matrix of at least one run.

    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, Inference for ranks; Al Mohamad, Goeman and van Zwet 2022.
    """
    common, n_left_out = _common(values)
    mean = _means(common)
    wins = shown_better(values, better, level)
    low = 1 + wins.sum(axis=0)
    high = len(wins) - wins.sum(axis=1)
    return Ranks(mean, _ranks(mean, better, "min"), low, high, common.shape[1], n_left_out)


def shown_better(values: ArrayLike, better: Better = "lower", level: float = 0.95) -> NDArray[np.bool_]:
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
    sign = 1.0 if better == "lower" else -1.0
    gain = sign * (common[None, :, :] - common[:, None, :])  # [i, j] > 0: i is better
    estimate = gain.mean(axis=-1)
    se = gain.std(axis=-1, ddof=1) / np.sqrt(prompts)
    constant = np.ptp(gain, axis=-1) <= ROUNDING
    t = np.divide(estimate, se, out=np.zeros_like(se), where=~constant)
    exact = np.where(estimate > ROUNDING, 0.5**prompts, 1.0)
    p_values = np.where(constant, exact, stdtr(prompts - 1, -t))
    shown: NDArray[np.bool_] = p_values <= (1 - level) / (runs * (runs - 1))
    return shown


def bootstrap_ranks(
    values: ArrayLike, rng: np.random.Generator, better: Better = "lower", level: float = 0.95, resamples: int = 2_000
) -> Ranks:
    """Rank M runs by the mean of values[M, P], with percentile intervals of the rank over resampled prompts.

    Descriptive: "how often does the order change with other prompts". Each interval stands for itself alone, and
    where true means tie or nearly tie it is too short (Hall and Miller 2009; with M runs of equal mean the ranks
    most often shown are those of this sample). For claims use `rank_intervals`.
    """
    common, n_left_out = _common(values)
    prompts = common.shape[1]
    mean = _means(common)
    rank = _ranks(mean, better, "min")
    if not prompts:
        return Ranks(mean, rank, np.ones_like(rank), np.full_like(rank, len(rank)), 0, n_left_out)
    weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples) / prompts
    means = weights @ common.T
    tail = (1 - level) / 2
    low = np.quantile(_ranks(means, better, "min"), tail, axis=0, method="lower").astype(np.int64)
    high = np.quantile(_ranks(means, better, "max"), 1 - tail, axis=0, method="higher").astype(np.int64)
    # The sample itself is one of the possible resamples: its rank never falls outside.
    return Ranks(mean, rank, np.minimum(low, rank), np.maximum(high, rank), prompts, n_left_out)


def _common(values: ArrayLike) -> tuple[FloatArray, int]:
    """Return the values of the prompts that every run has, (M, n), and how many prompts were left out."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or not len(matrix):
        raise ValueError(f"values are a matrix of runs x prompts, got shape {matrix.shape}")
    complete = ~np.isnan(matrix).any(axis=0)
    return matrix[:, complete], int(np.count_nonzero(~complete))


def _means(common: FloatArray) -> FloatArray:
    """Return the mean of every run; NaN without a common prompt."""
    return common.mean(axis=1) if common.shape[1] else np.full(len(common), np.nan)


def _ranks(mean: FloatArray, better: Better, ties: Literal["min", "max"]) -> IntArray:
    """Rank along the last axis, 1 for the best; without a common prompt all means are NaN, and all runs tie."""
    score = np.nan_to_num(np.round(mean if better == "lower" else -mean, DECIMALS))
    return np.asarray(rankdata(score, method=ties, axis=-1), dtype=np.int64)
