"""Plans against simulation of the tests that `compare` does, against closed forms, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fairbench.errors import FairbenchError
from fairbench.metrics._rd import relative_diversity
from fairbench.stats import gaffke
from fairbench.stats.difference import concentration_difference
from fairbench.stats.estimands import concentration_of_shares
from fairbench.stats.multiplicity import holm
from fairbench.stats.power import (
    Plan,
    _excludes_zero,
    power,
    shares_at,
    shares_at_rd,
    shift,
    symmetric_confusion,
)
from fairbench.stats.sizes import budget_curve, detectable, images_needed, prompts_needed
from tests.builders.proofs import mostly_long

Array = NDArray[np.float64]
HOLM = 0.05 / 3
"""The first step of Holm's adjustment for gender, race and their cross."""
PILOT = np.random.default_rng(0).dirichlet([0.6, 0.6], 12)


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_shares_have_the_concentration_that_was_asked_for(classes: int) -> None:
    for value in (0.0, 0.3, 1.0):
        assert concentration_of_shares(shares_at(value, classes)) == pytest.approx(value)
        assert relative_diversity(shares_at_rd(2 * value / classes, classes)) == pytest.approx(2 * value / classes)
    pilot = np.random.default_rng(1).dirichlet(np.full(classes, 0.7), 6)
    before = concentration_of_shares(pilot).mean()
    for change in (-0.1, 0.1, -before, 1 - before):
        after = shift(pilot, change)
        assert concentration_of_shares(after).mean() - before == pytest.approx(change)
        assert after.min() >= 0
        assert after.sum(axis=-1) == pytest.approx(1)


def simulated(plan: Plan, change: float, prompts: int, images: int, times: int) -> float:
    """Return how often the test of a comparison finds the change, in simulated runs with random numbers of faces."""
    random, found = np.random.default_rng(2), 0
    before, after = plan.typical, shift(plan.typical, change)
    for _ in range(times):
        of_list = plan.scope == "this list"
        which = np.arange(prompts) % len(before) if of_list else random.integers(len(before), size=prompts)
        a, b = (
            random.multinomial(random.binomial(images, plan.face_rate, prompts), plan.as_read(p[which]))
            for p in (before, after)
        )
        difference = concentration_difference(a, b)
        if of_list:
            found += difference.effect.p_value() <= plan.alpha
        else:
            widest = 1 + 1 / (min(a.sum(axis=1).min(), b.sum(axis=1).min()) - 1)
            low, high = gaffke.mean_interval(difference.pairs.difference, -widest, widest, 1 - plan.alpha)
            found += bool(low > 0 or high < 0)
    return found / times


CASES = {
    "two classes": (Plan(shares_at(0.5, 2), alpha=HOLM), -0.06, 20, 160),
    "three prompts": (Plan(shares_at(0.5, 4), alpha=HOLM), -0.2, 3, 60),
    "eight classes near balance": (Plan(shares_at(0.04, 8), alpha=HOLM), -0.02, 20, 60),
    "one-sided": (Plan(shares_at(1.0, 2), alpha=HOLM), -0.03, 20, 60),
    "a pilot, an erring classifier": (
        Plan(PILOT, symmetric_confusion(0.9, 2), face_rate=0.85, alpha=HOLM),
        -0.12,
        24,
        50,
    ),
    "other prompts": (Plan(shares_at(0.56, 2), scope="other prompts"), -0.09, 50, 80),
    "other prompts, a pilot": (Plan(PILOT, face_rate=0.9, scope="other prompts"), -0.14, 40, 60),
}


@pytest.mark.parametrize("case", mostly_long(CASES, 3))
def test_power_is_what_simulation_of_the_test_gives(case: str) -> None:
    plan, change, prompts, images = CASES[case]
    planned, times = float(power(plan, change, prompts, images)), 200
    assert 0.2 < planned < 0.97  # where a wrong formula would show
    error = 3 * math.sqrt(planned * (1 - planned) / times)
    assert abs(simulated(plan, change, prompts, images, times) - planned) < 0.02 + error


def half_one_sided(classes: int, prompts: int) -> Array:
    shares = np.full((prompts, classes), 1 / classes)
    shares[::2] = np.eye(classes)[np.arange(0, prompts, 2) // 2 % classes]
    return shares


HETEROGENEOUS = {
    "one-sided, four classes": (Plan(shares_at(1.0, 4), alpha=HOLM), -0.03, 20, 60),
    "one-sided, eight classes, five prompts": (Plan(shares_at(1.0, 8), alpha=HOLM), -0.08, 5, 60),
    "one-sided, two prompts": (Plan(shares_at(1.0, 2), alpha=HOLM), -0.1, 2, 160),
    "nearly one-sided, few images": (Plan(shares_at(0.97, 8), alpha=HOLM), -0.08, 20, 20),
    "near balance": (Plan(shares_at(0.02, 2), alpha=HOLM), -0.02, 20, 160),
    "near balance, two prompts": (Plan(shares_at(0.02, 8), alpha=HOLM), -0.02, 2, 160),
    "half of the prompts one-sided": (Plan(half_one_sided(2, 20), alpha=HOLM), -0.1, 20, 20),
    "half, four prompts": (Plan(half_one_sided(4, 4), alpha=HOLM), -0.1, 4, 60),
    "mixed": (Plan(np.random.default_rng(0).dirichlet(np.full(4, 0.4), 20), alpha=HOLM), -0.05, 20, 60),
    "away from balance": (Plan(shares_at(0.9, 2), alpha=HOLM), 0.1, 10, 40),
    "faces missed": (Plan(shares_at(1.0, 4), symmetric_confusion(0.9, 4), 0.6, alpha=HOLM), -0.2, 10, 40),
}


@pytest.mark.long
@pytest.mark.parametrize("case", [*CASES, *HETEROGENEOUS])
def test_power_is_within_three_points_of_simulation(case: str) -> None:
    plan, change, prompts, images = (CASES | HETEROGENEOUS)[case]
    planned, times = float(power(plan, change, prompts, images)), 4_000
    error = 2 * math.sqrt(planned * (1 - planned) / times)
    assert abs(simulated(plan, change, prompts, images, times) - planned) < 0.03 + error


def test_five_prompts_are_planned_for_what_compare_finds_there() -> None:
    """Under Holm over three attributes, alone against two that do not differ: the plan finds it as often as it says."""
    plan, random, found = Plan(shares_at(0.56, 4), alpha=HOLM), np.random.default_rng(4), 0
    change = -float(detectable(plan, 5, 160))
    shares = plan.typical[0], shift(plan.typical, change)[0]
    for _ in range(200):
        p_values = []
        for after in (shares[1], shares[0], shares[0]):
            counts = (random.multinomial(160, p, size=5) for p in (shares[0], after))
            p_values.append(concentration_difference(*counts).effect.p_value())
        found += holm(p_values)[0] <= 0.05
    assert found / 200 > 0.8 - 0.03 - 3 * math.sqrt(0.8 * 0.2 / 200)


def test_nothing_is_planned_for_too_few_prompts() -> None:
    """Of one prompt there is no test, and over other prompts none of nine, whatever the images."""
    listed, others = Plan(shares_at(0.56, 2)), Plan(shares_at(0.56, 2), scope="other prompts")
    assert images_needed(listed, -0.5, prompts=1) is None
    assert images_needed(others, -0.5, prompts=9) is None
    assert np.isnan(power(others, -0.5, 9, 10_000)) and np.isnan(power(listed, -0.5, 1, 10_000))
    assert prompts_needed(others, -0.56, images=100_000) == gaffke.FEWEST
    assert prompts_needed(listed, -0.56, images=100_000) == 2


@pytest.mark.parametrize("prompts", [10, 50, 200])
def test_the_saddlepoint_says_what_gaffkes_limit_says(prompts: int) -> None:
    """Against the exact distribution: the same side of the level, but for lists within .002 of it."""
    random = np.random.default_rng(5)
    spread = np.array([0.5, 1, 2])[:, None, None] * math.sqrt(10 / prompts)
    x = np.sort(np.clip(random.normal(-0.25, 0.3, (3, 60, prompts)) * spread - 0.05, -1.1, 1.1).reshape(-1, prompts))
    exact = 1 - gaffke.weighted_mean_cdf(np.column_stack([x, np.full(len(x), 1.1)]), 0.0)
    for level in (0.01, 0.025, 0.1):
        clear = np.abs(exact - level) > 0.002
        np.testing.assert_array_equal(_excludes_zero(x, 1.1, level)[clear], (exact <= level)[clear])


def test_closed_forms() -> None:
    """Two classes away from balance: a normal test of differences whose variance is known."""
    plan = Plan(shares_at(0.25, 2))
    a, b = 0.75, float(shift(plan.typical, -0.05)[0].max())
    se = math.sqrt(sum(16 * (2 * p - 1) ** 2 * p * (1 - p) for p in (a, b)) / 2_000 / 20)
    expected = stats.norm.sf(stats.norm.isf(0.025) - 0.05 / se)
    assert float(power(plan, -0.05, 20, 2_000)) == pytest.approx(expected, abs=0.02)
    assert float(power(plan, 0.0, 20, 500)) == pytest.approx(0.05, abs=0.01)
    # Over many prompts Gaffke's interval is the normal one, a little wider.
    many = Plan(shares_at(0.25, 2), between_prompt_sd=0.2, scope="other prompts")
    normal = stats.norm.sf(stats.norm.isf(0.025) - 0.02 * math.sqrt(800) / math.hypot(0.2, se * math.sqrt(20)))
    assert normal - 0.12 < float(power(many, -0.02, 800, 2_000)) < normal
    at_200, above = (float(power(many, -0.04, p, 500)) for p in (200, 201))
    assert above == pytest.approx(at_200, abs=0.04)  # where simulation ends and the normal sum begins


def test_needs_are_the_smallest_that_suffice_and_detectable_is_their_inverse() -> None:
    plan = Plan(shares_at(0.5, 2), face_rate=0.9)
    images, prompts = images_needed(plan, -0.05, prompts=30), prompts_needed(plan, -0.05, images=100)
    assert images is not None and prompts is not None
    assert power(plan, -0.05, 30, images) >= 0.8 > power(plan, -0.05, 30, images - 1)
    assert power(plan, -0.05, prompts, 100) >= 0.8 > power(plan, -0.05, prompts - 1, 100)
    assert detectable(plan, 30, images) == pytest.approx(0.05, rel=0.03)


def test_what_no_number_of_images_can_do_is_said() -> None:
    plan = Plan(shares_at(0.5, 2), between_prompt_sd=0.3, scope="other prompts")
    assert images_needed(plan, -0.05, prompts=20) is None
    needed = prompts_needed(plan, -0.05, images=100)
    assert needed is not None and needed > 200
    assert math.isnan(detectable(Plan(shares_at(0.01, 2)), 10, 20))
    assert math.isnan(detectable(Plan(shares_at(0.0, 2)), 10, 20))  # nothing is fairer than fair


def test_errors_and_misses_only_cost() -> None:
    plain = Plan(shares_at(0.3, 4))
    full = power(plain, -0.03, 20, [40, 80, 160, 320])
    assert (np.diff(full) > 0).all()
    assert (np.diff(power(plain, -0.03, [5, 10, 20, 40], 80)) > 0).all()
    for worse in (
        Plan(plain.baseline, face_rate=0.6),
        Plan(plain.baseline, symmetric_confusion(0.8, 4)),
        Plan(plain.baseline, alpha=0.01),
        Plan(plain.baseline, scope="other prompts"),
    ):
        assert (power(worse, -0.03, 20, [40, 80, 160, 320]) < full).all()


def test_the_names_of_classes_and_the_order_of_prompts_change_nothing() -> None:
    random = np.random.default_rng(5)
    pilot = random.dirichlet(np.ones(4), 5)
    here = float(power(Plan(pilot), -0.04, 20, 100))
    there = float(power(Plan(pilot[random.permutation(5)][:, [2, 0, 3, 1]]), -0.04, 20, 100))
    assert there == pytest.approx(here, abs=0.02)


def test_a_budget_is_split_and_each_split_is_answered() -> None:
    plan = Plan(shares_at(0.5, 2), between_prompt_sd=0.08, scope="other prompts")
    images, found = budget_curve(plan, 4_000, [20, 50, 100])
    assert images.tolist() == [200, 80, 40]
    assert found[1] == pytest.approx(detectable(plan, 50, 80))
    assert (np.diff(found) < 0).all()  # where prompts differ, more of them is the better use


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (lambda: Plan(np.array([0.5, 0.6])), "baseline"),
        (lambda: Plan(np.array([1.0])), "baseline"),
        (lambda: Plan(np.array([0.5, 0.5]), confusion=np.eye(3)), "confusion"),
        (lambda: Plan(np.array([0.5, 0.5]), face_rate=0.0), "face_rate"),
        (lambda: Plan(np.array([0.5, 0.5]), between_prompt_sd=-0.1), "between_prompt_sd"),
        (lambda: Plan(np.array([0.5, 0.5]), alpha=1.0), "alpha"),
        (lambda: power(Plan(np.array([0.5, 0.5])), -0.1, 10, 10), "detect"),
        (lambda: shares_at(1.2, 4), "detect"),
        (lambda: shares_at_rd(0.6, 4), "detect"),
    ],
)
def test_impossible_plans_name_the_field(wrong: object, field: str) -> None:
    with pytest.raises(FairbenchError, match=field):
        wrong()  # type: ignore[operator]
