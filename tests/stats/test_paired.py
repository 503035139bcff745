"""The mean difference of two runs: oracles, degenerate cases, coverage in both scopes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fairbench.stats.paired import Effect, effect, independent_se, other_prompts, pair

A = np.array([0.10, 0.32, 0.55, 0.21, 0.80, 0.43, 0.05, 0.66])
B = np.array([0.14, 0.30, 0.61, 0.33, 0.79, 0.51, 0.13, 0.70])
values = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=12)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_effect_is_normal_with_the_error_that_was_given() -> None:
    pairs = pair(A, B)
    se = independent_se(pairs, np.full(8, 0.0004), np.full(8, 0.0012))
    assert se == pytest.approx(math.sqrt(0.0016 / 8))
    found = effect(pairs, se)
    assert found.estimate == pytest.approx((B - A).mean())
    z = found.estimate / se
    assert found.p_value() == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert found.interval() == pytest.approx(stats.norm.interval(0.95, found.estimate, se))
    inside = stats.norm.cdf((0.1 - found.estimate) / se), stats.norm.cdf((found.estimate + 0.1) / se)
    assert found.equivalence_p(0.1) == pytest.approx(1 - min(inside))
    assert found.non_inferiority_p(0.1, "lower") == pytest.approx(1 - inside[0])
    assert found.non_inferiority_p(0.1, "higher") == pytest.approx(1 - inside[1])


def test_missing_prompts_leave_the_pair_and_are_counted() -> None:
    a, b = A.copy(), B.copy()
    a[1], b[1], b[4] = np.nan, np.nan, np.nan
    keep = [0, 2, 3, 5, 6, 7]
    assert effect(pair(a, b), 0.1) == Effect(float((B - A)[keep].mean()), 0.1, 6, 2)
    variance = np.where(np.isnan(b), np.nan, 0.001)
    assert independent_se(pair(a, b), variance, variance) == pytest.approx(math.sqrt(6 * 0.002) / 6)


@pytest.mark.parametrize("error", [0.0, 1e-17, 3e-16, 1e-13])
def test_where_nothing_varies_no_difference_is_claimed_and_no_width(error: float) -> None:
    """A standard error of 1e-16, left by rounding, once gave an interval of no width and a p-value of 0."""
    found = effect(pair(np.full(5, 0.2), np.full(5, 0.3)), error)
    assert np.isnan(found.interval()).all()
    assert math.isnan(found.p_value())
    assert effect(pair(A, A + 1e-16), error).p_value() == 1.0


def test_no_prompt_is_nothing() -> None:
    none = pair([np.nan, 0.2], [0.1, np.nan])
    assert math.isnan(effect(none, 0.1).estimate)
    assert math.isnan(effect(none, 0.1).p_value())
    assert math.isnan(independent_se(none, np.ones(2), np.ones(2)))
    assert np.isnan(other_prompts(none, -1, 1)).all()


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        pair(A, B[:3])
    with pytest.raises(ValueError, match="not negative"):
        effect(pair(A, B), -0.1)
    for margin in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="margin"):
            effect(pair(A, B), 0.1).equivalence_p(margin)


@settings(max_examples=30, deadline=None)
@given(values, st.randoms())
def test_order_of_prompts_is_nothing_and_order_of_runs_is_a_sign(rows: list[tuple[int, int]], shuffle: object) -> None:
    a, b = (np.array(column) / 40 for column in zip(*rows, strict=True))
    order = np.argsort([shuffle.random() for _ in rows])  # type: ignore[attr-defined]
    there, back, mixed = (effect(p, 0.1) for p in (pair(a, b), pair(b, a), pair(a[order], b[order])))
    assert back.estimate == pytest.approx(-there.estimate)
    assert mixed.p_value() == pytest.approx(there.p_value()) == pytest.approx(back.p_value())
    assert back.equivalence_p(0.1) == pytest.approx(there.equivalence_p(0.1))


def test_other_prompts_have_limits_from_ten_prompts_on_and_within_the_range() -> None:
    """Ten prompts that agree leave room for prompts that were not seen: no width would be a lie."""
    nine, ten = (pair(np.zeros(n), np.full(n, 0.9)) for n in (9, 10))
    assert np.isnan(other_prompts(nine, -1, 1)).all()
    low, high = other_prompts(ten, -1, 1)
    assert -1 < low < 0.5 and 0.9 < high <= 1
    wider = other_prompts(ten, -1, 1, shared=0.1)
    assert wider[0] < low and wider[1] > high


def test_each_interval_covers_the_mean_of_its_own_prompts() -> None:
    """One prompt in ten differs by .8, the rest not at all: Student's t covers the mean of all prompts in .65 or so."""
    random, replicates, n = rng(6), 300, 100
    covered = {"this list": 0, "other prompts": 0}
    for _ in range(replicates):
        share_a = random.uniform(0.1, 0.2, 20)
        share_b = share_a + 0.8 * (random.random(20) < 0.1)
        a, b = random.binomial(n, share_a) / n, random.binomial(n, share_b) / n
        pairs = pair(a, b)
        low, high = other_prompts(pairs, -1, 1)
        covered["other prompts"] += low <= 0.08 <= high
        se = independent_se(pairs, a * (1 - a) / (n - 1), b * (1 - b) / (n - 1))
        low, high = effect(pairs, se).interval()
        covered["this list"] += low <= (share_b - share_a).mean() <= high
    error = 3.5 * math.sqrt(0.05 * 0.95 / replicates)
    assert abs(covered["this list"] / replicates - 0.95) < error
    assert covered["other prompts"] / replicates > 0.95 - error
