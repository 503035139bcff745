"""Plans against simulation of the test that they plan for, against closed forms, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.power import TTestPower

from fairbench.errors import FairbenchError
from fairbench.metrics._rd import relative_diversity
from fairbench.stats.paired import effect_random, pair
from fairbench.stats.power import (
    Plan,
    budget_curve,
    detectable,
    images_needed,
    power,
    prompts_needed,
    shares_at_rd,
    shift,
    symmetric_confusion,
)

Array = NDArray[np.float64]
REPLICATES = 2_000


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_shares_have_the_rd_that_was_asked_for(classes: int) -> None:
    for rd in (0.0, 0.3 / classes, 2 / classes):
        assert relative_diversity(shares_at_rd(rd, classes)) == pytest.approx(rd)
    pilot = np.random.default_rng(1).dirichlet(np.full(classes, 0.7), 6)
    before = relative_diversity(pilot).mean()
    for change in (-0.2 / classes, 0.2 / classes, -before, 2 / classes - before):
        after = shift(pilot, change)
        assert relative_diversity(after).mean() - before == pytest.approx(change)
        assert after.min() >= 0
        assert after.sum(axis=-1) == pytest.approx(1)


def concentration(counts: NDArray[np.int64]) -> Array:
    n, k = counts.sum(axis=-1), counts.shape[-1]
    return (k * (counts * (counts - 1)).sum(axis=-1) / (n * (n - 1)) - 1) / (k - 1)


def rd(counts: NDArray[np.int64]) -> Array:
    return relative_diversity(counts / counts.sum(axis=-1, keepdims=True))


CASES = {
    "two classes, interior": (Plan(shares_at_rd(0.5, 2)), -0.05, 20, 160),
    "near balance, where RD hardly moves": (Plan(shares_at_rd(0.0, 2)), 0.10, 30, 160),
    "eight classes": (Plan(shares_at_rd(0.12, 8)), -0.02, 10, 100),
    "few faces, an erring classifier": (
        Plan(shares_at_rd(0.30, 4), symmetric_confusion(0.85, 4), face_rate=0.8),
        -0.06,
        15,
        50,
    ),
    "twenty faces": (Plan(shares_at_rd(0.12, 8)), -0.03, 20, 20),
    "concentration": (Plan(shares_at_rd(0.25, 4), estimand="concentration"), -0.04, 12, 100),
}


@pytest.mark.parametrize("case", CASES)
def test_power_is_what_simulation_of_the_test_gives(case: str) -> None:
    plan, change, prompts, images = CASES[case]
    random, faces = np.random.default_rng(2), round(images * plan.face_rate)
    table = np.eye(plan.baseline.shape[-1]) if plan.confusion is None else plan.confusion
    value = rd if plan.estimand == "rd" else concentration
    a = value(random.multinomial(faces, plan.baseline @ table, (REPLICATES, prompts)))
    b = value(random.multinomial(faces, shift(plan.baseline[None], change)[0] @ table, (REPLICATES, prompts)))
    found = np.mean([effect_random(pair(x, y)).p_value() <= 0.05 for x, y in zip(a, b, strict=True)])
    planned = float(power(plan, change, prompts, images))
    assert 0.2 < planned < 0.97  # where a wrong formula would show
    assert abs(found - planned) < 0.015 + 3 * math.sqrt(planned * (1 - planned) / REPLICATES)


def test_prompts_that_differ_cost_power_as_simulated() -> None:
    plan = Plan(shares_at_rd(0.5, 2), between_prompt_sd=0.12)
    random, prompts, n = np.random.default_rng(3), 40, 160
    true_b = 0.5 - 0.06 + random.normal(0, 0.12, (REPLICATES, prompts))
    a = np.abs(2 * random.binomial(n, 0.75, (REPLICATES, prompts)) / n - 1)
    b = np.abs(2 * random.binomial(n, (1 + true_b) / 2) / n - 1)
    found = np.mean([effect_random(pair(x, y)).p_value() <= 0.05 for x, y in zip(a, b, strict=True)])
    planned = float(power(plan, -0.06, prompts, n))
    assert abs(found - planned) < 0.015 + 3 * math.sqrt(planned * (1 - planned) / REPLICATES)
    assert planned < float(power(Plan(plan.baseline), -0.06, prompts, n)) - 0.1


def test_closed_forms() -> None:
    """Between-prompt sd alone is a t test; K = 2 away from balance is a test of two proportions."""
    plan = Plan(shares_at_rd(0.5, 2), between_prompt_sd=0.1)
    oracle = TTestPower().power(effect_size=0.5, nobs=20, alpha=0.05)
    assert float(power(plan, -0.05, 20, 10**9)) == pytest.approx(oracle, abs=1e-3)
    fixed = Plan(shares_at_rd(0.5, 2), scope="this list", between_prompt_sd=0.1)
    se = math.sqrt(4 * (0.75 * 0.25 + 0.725 * 0.275) / 160 / 20)
    expected = stats.norm.sf(stats.norm.isf(0.025) - 0.05 / se)
    assert float(power(fixed, -0.05, 20, 160)) == pytest.approx(expected, abs=0.01)
    assert float(power(plan, 0.0, 20, 100)) == pytest.approx(plan.alpha)


def test_needs_are_the_smallest_that_suffice_and_detectable_is_their_inverse() -> None:
    plan = Plan(shares_at_rd(0.5, 2), face_rate=0.9, between_prompt_sd=0.05)
    images = images_needed(plan, -0.05, prompts=30)
    prompts = prompts_needed(plan, -0.05, images=100)
    assert images is not None
    assert prompts is not None
    assert power(plan, -0.05, 30, images) >= 0.8 > power(plan, -0.05, 30, images - 1)
    assert power(plan, -0.05, prompts, 100) >= 0.8 > power(plan, -0.05, prompts - 1, 100)
    assert detectable(plan, 30, images) == pytest.approx(0.05, abs=0.001)


def test_what_no_number_of_images_can_do_is_said() -> None:
    plan = Plan(shares_at_rd(0.5, 2), between_prompt_sd=0.3)
    assert images_needed(plan, -0.02, prompts=10) is None
    assert prompts_needed(plan, -0.02, images=100) is not None
    assert math.isnan(detectable(Plan(shares_at_rd(0.01, 2)), 10, 20))
    assert math.isnan(detectable(Plan(shares_at_rd(0.0, 2)), 10, 20))  # nothing is fairer than fair
    assert np.isnan(power(plan, -0.02, [1, 5], [100, 1])).all()  # no sample of prompts; fewer than two faces


def test_errors_and_misses_only_cost() -> None:
    plain = Plan(shares_at_rd(0.3, 4))
    full = power(plain, -0.02, 20, [40, 80, 160, 320])
    assert (np.diff(full) > 0).all()
    assert (np.diff(power(plain, -0.02, [5, 10, 20, 40], 80)) > 0).all()
    for worse in (
        Plan(plain.baseline, face_rate=0.6),
        Plan(plain.baseline, symmetric_confusion(0.8, 4)),
        Plan(plain.baseline, between_prompt_sd=0.05),
        Plan(plain.baseline, alpha=0.01),
    ):
        assert (power(worse, -0.02, 20, [40, 80, 160, 320]) < full).all()


def test_the_names_of_classes_and_the_order_of_prompts_change_nothing() -> None:
    random = np.random.default_rng(5)
    pilot = random.dirichlet(np.ones(4), 5)
    here = float(power(Plan(pilot), -0.03, 20, 100))
    there = float(power(Plan(pilot[random.permutation(5)][:, [2, 0, 3, 1]]), -0.03, 20, 100))
    assert there == pytest.approx(here, abs=0.01)  # the integration points are not symmetric in the classes


def test_a_budget_is_split_and_each_split_is_answered() -> None:
    plan = Plan(shares_at_rd(0.5, 2), between_prompt_sd=0.08)
    images, found = budget_curve(plan, 4_000, [10, 50, 200])
    assert images.tolist() == [400, 80, 20]
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
        (lambda: shares_at_rd(0.6, 4), "detect"),
    ],
)
def test_impossible_plans_name_the_field(wrong: object, field: str) -> None:
    with pytest.raises(FairbenchError, match=field):
        wrong()  # type: ignore[operator]
