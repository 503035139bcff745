"""Several runs over the same prompts: ranks, and how sure they are. The lower the value, the better the rank.

A rank interval says which ranks a run could hold, given what the pairwise comparisons can and cannot tell apart. Two
runs whose intervals overlap are not ordered by the data, whatever their means say. Ranks are of this list of prompts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fairbench.stats.difference import concentration_difference
from fairbench.stats.estimands import IntArray
from fairbench.stats.intervals import concentration_of_prompts
from fairbench.stats.units import Data
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


def rank_intervals(
    runs: Sequence[Data], alpha: float = 0.05, rankings: int = 1, withheld: Collection[int] = ()
) -> Ranks:
    """Rank M runs by mean concentration over the prompts that all have; the intervals hold for all runs at once.

    rankings: how many are made of these runs, all of which hold together at 1 - alpha. withheld: runs whose images are
    no independent draws, which cannot be set apart from others. low = 1 + the number of runs shown to be better;
    high = M - the number shown to be worse (`shown_better`). Where true means tie, the interval covers every rank that
    the tied runs could be given. With no common prompt the means are NaN and every run could hold every rank.

    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, Inference for ranks; Al Mohamad, Goeman and van Zwet 2022.
    """
    values = np.stack([concentration_of_prompts(run).value for run in runs])
    complete = ~np.isnan(values).any(axis=0)
    prompts, better = int(complete.sum()), shown_better(runs, alpha, rankings)
    better[list(withheld)] = better[:, list(withheld)] = False
    mean = values[:, complete].mean(axis=1) if prompts else np.full(len(runs), np.nan)
    low, high = 1 + better.sum(axis=0), len(runs) - better.sum(axis=1)
    # Without a common prompt all means are NaN, and all runs tie.
    rank = rankdata(np.nan_to_num(np.round(mean, DECIMALS)), method="min").astype(np.int64)
    # A pair is compared on all prompts that both have, the means on those that all have: a rank may lie outside.
    return Ranks(mean, np.clip(rank, low, high), low, high, prompts, int(complete.size - prompts))


def shown_better(runs: Sequence[Data], alpha: float = 0.05, rankings: int = 1) -> NDArray[np.bool_]:
    """Return the matrix (M, M) of "run i is shown to be better than run j"; neither way means that they tie.

    The test of a comparison: two-sided, normal, over the images of the prompts that both runs have; of one prompt there
    is none. All pairs of all rankings are one family at level alpha, by one step (Bonferroni). A comparison's own
    family, the pairs with the baseline, is a part of this one under Holm, so that ranks never set apart two runs whose
    difference it calls inconclusive. Not Holm's steps here: with them a run that gets better can lose places, because
    the shift spends or frees steps of other pairs.
    """
    m = len(runs)
    tests = rankings * m * (m - 1) // 2
    shown = np.zeros((m, m), dtype=bool)
    for i, j in combinations(range(m), 2):
        difference = concentration_difference(runs[i], runs[j]).effect  # above 0: i is better
        if difference.n_pairs > 1 and difference.p_value() <= alpha / tests:
            shown[(i, j) if difference.estimate > 0 else (j, i)] = True
    return shown
