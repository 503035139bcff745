"""Ranks of several runs: what they are invariant to, ties, and how often the intervals hold the true ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fairbench.stats.ranking import Ranks, rank_intervals, shown_better

FIELDS = ("mean", "rank", "low", "high")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def runs(seed: int, n_runs: int = 4, prompts: int = 12) -> NDArray[np.float64]:
    """Values in steps of 1/20, so that ties occur, with a common effect of the prompt."""
    random = rng(seed)
    spread = random.uniform(0, 0.3, (n_runs, 1)) + random.normal(0, 0.1, (n_runs, prompts))
    return np.round((spread + random.uniform(0.2, 0.8, prompts)) * 20) / 20


def test_two_runs_are_ordered_by_one_sided_paired_t_tests() -> None:
    values = runs(1, n_runs=2)
    p = stats.ttest_rel(values[0], values[1], alternative="less").pvalue
    for level in (0.5, 0.8, 0.95, 0.999):
        assert shown_better(values, level=level)[0, 1] == (p <= (1 - level) / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_runs_and_prompts_changes_nothing_else(seed: int) -> None:
    values = runs(seed)
    here = rank_intervals(values)
    by_run, by_prompt = rng(seed).permutation(4), rng(seed).permutation(12)
    there = rank_intervals(values[by_run][:, by_prompt])
    for name in FIELDS:
        assert getattr(there, name) == pytest.approx(getattr(here, name)[by_run])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_run_that_gets_better_everywhere_never_loses_a_place(seed: int, gain: float) -> None:
    values = runs(seed)
    improved = values.copy()
    improved[0] -= gain
    before, after = rank_intervals(values, level=0.8), rank_intervals(improved, level=0.8)
    for name in ("rank", "low", "high"):
        assert getattr(after, name)[0] <= getattr(before, name)[0]
        assert (getattr(after, name)[1:] >= getattr(before, name)[1:]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_intervals_hold_the_rank_and_widen_with_the_level(seed: int) -> None:
    values = runs(seed)
    narrow, wide = rank_intervals(values, level=0.5), rank_intervals(values, level=0.99)
    for r in (narrow, wide):
        assert (r.low <= r.rank).all()
        assert (r.rank <= r.high).all()
        assert r.low.min() == 1
        assert r.high.max() == 4
    assert (wide.low <= narrow.low).all()
    assert (wide.high >= narrow.high).all()


def test_ties_share_the_better_rank_and_cannot_be_told_apart() -> None:
    same = runs(2)[0]
    ranks = rank_intervals(np.stack([same, same[::-1], same + 0.5]))
    assert ranks.rank.tolist() == [1, 1, 3]
    assert ranks.low.tolist() == [1, 1, 3]  # the third is worse by the same amount, or nearly, in every prompt
    assert ranks.high.tolist() == [2, 2, 3]


def test_a_constant_gap_counts_as_far_as_signs_do() -> None:
    for prompts, shown in ((5, False), (6, True)):  # 2^-5 > .05 / 2 > 2^-6
        assert shown_better([[0.0] * prompts, [1.0] * prompts])[0, 1] == shown
    assert not shown_better([[0.3] * 50, [0.3] * 50]).any()


def test_prompts_that_a_run_lacks_are_left_out_for_all() -> None:
    values = runs(3)
    values[1, 2] = values[2, 5] = values[3, 5] = np.nan
    there, here = rank_intervals(values), rank_intervals(np.delete(values, [2, 5], axis=1))
    assert (there.n_prompts, there.n_left_out) == (10, 2)
    for name in FIELDS:
        assert np.array_equal(getattr(there, name), getattr(here, name))


def test_without_prompts_or_rivals_nothing_is_claimed() -> None:
    empty = np.full((3, 2), np.nan)
    ranks = rank_intervals(empty)
    assert np.isnan(ranks.mean).all()
    assert ranks.rank.tolist() == ranks.low.tolist() == [1, 1, 1]
    assert ranks.high.tolist() == [3, 3, 3]
    assert rank_intervals([[0.1, 0.2]]).high.tolist() == [1]
    assert rank_intervals([[0.1], [0.9]]).high.tolist() == [2, 2]
    with pytest.raises(ValueError, match="runs x prompts"):
        rank_intervals([0.1, 0.2])


def holds(ranks: Ranks, truth: list[tuple[int, int]]) -> bool:
    """Whether every run's interval holds all the ranks that its true mean could be given."""
    return all(low <= a and b <= high for (a, b), low, high in zip(truth, ranks.low, ranks.high, strict=True))


@pytest.mark.parametrize(
    ("means", "truth"),
    [
        ([0.3, 0.3, 0.3, 0.3, 0.3], [(1, 5)] * 5),
        ([0.2, 0.2, 0.25, 0.3, 0.5], [(1, 2), (1, 2), (3, 3), (4, 4), (5, 5)]),
    ],
)
def test_all_intervals_hold_the_true_ranks_together(means: list[float], truth: list[tuple[int, int]]) -> None:
    random, replicates = rng(8), 800
    prompt = random.normal(0, 0.2, (replicates, 1, 25))
    values = np.array(means)[:, None] + prompt + random.normal(0, 0.08, (replicates, 5, 25))
    ranked = [rank_intervals(v) for v in values]
    covered = np.mean([holds(r, truth) for r in ranked])
    assert covered >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / replicates)
    assert np.mean([r.low[4] for r in ranked]) == pytest.approx(truth[4][0], abs=0.1)
