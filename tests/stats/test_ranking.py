"""Ranks of several runs: what they are invariant to, ties, and how often the intervals hold the true ranks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench.stats.difference import concentration_difference
from fairbench.stats.multiplicity import holm
from fairbench.stats.ranking import Ranks, rank_intervals, shown_better
from fairbench.stats.units import Data
from tests.builders.proofs import mostly_long

FIELDS = ("mean", "rank", "low", "high")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def at(root: float, faces: int, prompts: int, random: np.random.Generator) -> np.ndarray:
    """Counts of a model of two classes with this square root of concentration in every prompt."""
    return random.multinomial(faces, np.tile([(1 + root) / 2, (1 - root) / 2], (prompts, 1)))


def runs(seed: int, n_runs: int = 4, prompts: int = 12) -> list[Data]:
    random = rng(seed)
    return [at(root, 40, prompts, random) for root in random.uniform(0.2, 0.8, n_runs)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_runs_and_prompts_changes_nothing_else(seed: int) -> None:
    data = runs(seed)
    here = rank_intervals(data)
    by_run, by_prompt = rng(seed).permutation(4), rng(seed).permutation(12)
    there = rank_intervals([data[i][by_prompt] for i in by_run])  # type: ignore[index]
    for name in FIELDS:
        assert getattr(there, name) == pytest.approx(getattr(here, name)[by_run])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_intervals_hold_the_rank_and_narrow_with_the_level(seed: int) -> None:
    data = runs(seed)
    narrow, wide = rank_intervals(data, 0.5), rank_intervals(data, 0.01)
    for r in (narrow, wide):
        assert (r.low <= r.rank).all() and (r.rank <= r.high).all()
        assert r.low.min() == 1 and r.high.max() == 4
    assert (wide.low <= narrow.low).all() and (wide.high >= narrow.high).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_ranks_never_set_apart_what_the_comparison_calls_inconclusive(seed: int) -> None:
    """Two attributes, the first run the baseline: whatever ranks show of it, Holm over its own family shows too."""
    alpha, sets = 0.05, [runs(seed), runs(seed + 1)]
    better = [shown_better(data, alpha, rankings=2) for data in sets]
    tested = [concentration_difference(data[0], other).effect for data in sets for other in data[1:]]
    found = holm([t.p_value() for t in tested]) <= alpha
    by_ranks = [b[0, j] or b[j, 0] for b in better for j in range(1, 4)]
    assert not np.any(np.array(by_ranks) & ~found)


def test_ties_share_the_better_rank_and_cannot_be_told_apart() -> None:
    same = at(0.3, 40, 12, rng(2))
    ranks = rank_intervals([same, same[::-1], np.tile([40, 0], (12, 1))])
    assert ranks.rank.tolist() == [1, 1, 3]
    assert ranks.low.tolist() == [1, 1, 3] and ranks.high.tolist() == [2, 2, 3]


def test_few_prompts_rank_where_images_show_it_and_one_prompt_does_not() -> None:
    """Five prompts of 160 images that are far apart: the sign of five differences alone could never tell."""
    far = [np.tile([128, 32], (5, 1)), np.tile([80, 80], (5, 1))]
    assert rank_intervals(far).low.tolist() == [2, 1]
    assert rank_intervals([counts[:1] for counts in far]).low.tolist() == [1, 1]
    assert rank_intervals(far, withheld=[1]).low.tolist() == [1, 1]


def test_prompts_that_a_run_lacks_are_left_out_for_all() -> None:
    data = runs(3)
    data[1][2] = data[2][5] = data[3][5] = 0  # type: ignore[index]
    there = rank_intervals(data)
    assert (there.n_prompts, there.n_left_out) == (10, 2)
    assert there.mean == pytest.approx(rank_intervals([np.delete(d, [2, 5], axis=0) for d in data]).mean)


def test_without_prompts_or_rivals_nothing_is_claimed() -> None:
    ranks = rank_intervals([np.zeros((2, 2), dtype=int)] * 3)
    assert np.isnan(ranks.mean).all()
    assert ranks.rank.tolist() == ranks.low.tolist() == [1, 1, 1]
    assert ranks.high.tolist() == [3, 3, 3]
    assert rank_intervals([np.ones((2, 2), dtype=int) * 9]).high.tolist() == [1]


def holds(ranks: Ranks, truth: list[tuple[int, int]]) -> bool:
    """Whether every run's interval holds all the ranks that its true mean could be given."""
    return all(low <= a and b <= high for (a, b), low, high in zip(truth, ranks.low, ranks.high, strict=True))


@pytest.mark.parametrize(("prompts", "faces"), mostly_long([(3, 16), (3, 160), (8, 40)]))
def test_all_intervals_hold_the_true_ranks_together(prompts: int, faces: int) -> None:
    """Six equal models, few prompts: any pair set apart is false."""
    random, replicates = rng(8), 200
    covered = []
    for _ in range(replicates):
        root = random.uniform(0, 0.9)
        covered.append(holds(rank_intervals([at(root, faces, prompts, random) for _ in range(6)]), [(1, 6)] * 6))
    assert np.mean(covered) >= 0.95 - 2.5 * np.sqrt(0.05 * 0.95 / replicates)


def test_ordered_models_are_ranked() -> None:
    random = rng(9)
    ranks = rank_intervals([at(root, 160, 20, random) for root in (0.1, 0.4, 0.7)])
    assert ranks.low.tolist() == ranks.high.tolist() == [1, 2, 3]
    assert all(a < b for a, b in itertools.pairwise(ranks.mean))
