"""Every estimate of a run, from counts written by hand: against other routes to it, and unmoved by order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as sp
from statsmodels.stats.proportion import proportion_confint

from fairbench.cards.cards import LabellerCard
from fairbench.errors import PluginError
from fairbench.labelling.confusion import Calibration
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure import correction, estimates, quantities
from fairbench.measure import series as measure_series
from fairbench.measure.correction import Correction
from fairbench.measure.counts import Counts
from fairbench.measure.estimates import Estimate
from fairbench.metrics._rd import rd
from fairbench.stats.estimands import concentration
from fairbench.stats.gaffke import mean_interval
from tests.builders.hand_counts import BY_HAND, calibrated, counted, prompts, space


def table_of(
    counts: Counts, calibration: Calibration | None = None, n0: int | None = None, *, single: bool = False
) -> list[Estimate]:
    """Return the estimates of the task; single: those of single prompts, too, which take longer than all others."""
    series = list(measure_series.evaluate(counts, prompts(len(counts.joint)), {}))
    prepared = correction.prepare(calibration, None, counts, BY_HAND)
    return estimates.estimate(counts, series, prepared, n0, prompts=single)


def one(found: list[Estimate], metric: str, attribute: str, kind: str = "raw", scope: str = "task") -> Estimate:
    (row,) = [e for e in found if (e.metric, e.attribute, e.estimate, e.scope) == (metric, attribute, kind, scope)]
    return row


@pytest.fixture(scope="module")
def joint() -> NDArray[np.int64]:
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.full(8, 0.7), size=12)
    return np.stack([rng.multinomial(40, p).reshape(2, 4) for p in shares])


@pytest.fixture(scope="module")
def plain(joint: NDArray[np.int64]) -> list[Estimate]:
    return table_of(counted(joint), single=True)


def test_values_agree_with_other_routes_to_them(joint: NDArray[np.int64], plain: list[Estimate]) -> None:
    female = joint.sum(axis=2)[:, 0]
    assert one(plain, "rd", "gender").value == pytest.approx(np.abs(2 * female / 40 - 1).mean())
    # Unbiased RD^2 for two classes: of all pairs of different faces, those that agree minus those that do not.
    pairs = [(f * (f - 1) + (40 - f) * (39 - f) - 2 * f * (40 - f)) / (40 * 39) for f in female]
    assert one(plain, "concentration", "gender").value == pytest.approx(np.mean(pairs))
    assert one(plain, "share[female]", "gender").value == pytest.approx((female / 40).mean())
    assert one(plain, "gap[female]", "gender").value == pytest.approx((2 * female / 40 - 1).mean())
    assert one(plain, "pooled-rd", "gender").value == pytest.approx(abs(2 * female.sum() / 480 - 1))
    # rd at 20 of 40 faces: hypergeometric, by brute force.
    k = np.arange(21)
    at = [(np.abs(2 * k / 20 - 1) * sp.hypergeom(40, f, 20).pmf(k)).sum() for f in female]
    row = one(plain, "rd", "gender", "rarefied")
    assert row.n0 == 20
    assert row.value == pytest.approx(np.mean(at))


def test_other_prompts_have_gaffkes_interval_from_ten_on(joint: NDArray[np.int64], plain: list[Estimate]) -> None:
    gap = 2 * joint.sum(axis=2)[:, 0] / 40 - 1
    weights = np.random.default_rng(0).dirichlet(np.ones(13), 200_000)
    row = one(plain, "gap[female]", "gender", scope="population")
    assert row.low == pytest.approx(np.quantile(weights @ np.append(gap, -1), 0.025), abs=0.005)
    assert row.high == pytest.approx(np.quantile(weights @ np.append(gap, 1), 0.975), abs=0.005)
    share = one(plain, "share[female]", "gender", scope="population")
    assert (2 * share.low - 1, 2 * share.high - 1) == pytest.approx((row.low, row.high))
    c = one(plain, "concentration", "race4", scope="population")
    values = concentration(joint.sum(axis=1))
    assert (c.low, c.high) == pytest.approx(mean_interval(values, -1 / 39, 1.0))
    assert c.ci_method == "Gaffke's, over prompts"
    for row in table_of(counted(joint[:9])):
        if row.scope == "population" and row.estimate == "raw":
            assert np.isnan([row.value, row.low, row.high]).all()
            assert (row.reason, row.prompts) == ("10 prompts are needed for a statement on other prompts", 9)


def test_shares_of_a_prompt_have_jeffreys_interval(joint: NDArray[np.int64], plain: list[Estimate]) -> None:
    rows = [e for e in plain if e.metric == "share[female]" and e.prompt == 4]
    low, high = proportion_confint(int(joint[4, 0].sum()), 40, method="jeffreys")
    assert [(e.low, e.high) for e in rows] == [pytest.approx((low, high))]


@pytest.mark.parametrize("odd", [0, 1])
def test_limits_lie_in_the_range_of_the_metric(odd: int) -> None:
    """Few faces, at balance (entropy could pass 1) and nearly of one class (it could fall below 0)."""
    joint = np.zeros((4, 2, 4), dtype=np.int64)
    joint[:2, 0, 0], joint[2:, 1, 1] = 8, 8
    joint[0, 1, 1] = odd
    if not odd:
        joint[:] = 1
    found = table_of(counted(joint))
    for attribute, k in (("gender", 2), ("race4", 4), ("gender_x_race4", 8)):
        js = np.log(2) - ((k + 1) * np.log(k + 1) - k * np.log(k)) / (2 * k)
        spans = {
            "entropy": (0, 1),
            "kl-uniform": (0, np.log(k)),
            "js-uniform": (0, js),
            "tv-uniform": (0, 1 - 1 / k),
            "tv-score": (0, 1),
            "spd": (0, 1),
            "mad": (0, 2 * (k - 1) / k**2),
            "rd-normalised": (0, 1),
            "majority-share": (1 / k, 1),
        }
        for metric, (lowest, highest) in spans.items():
            row = one(found, metric, attribute)
            assert lowest <= row.low <= row.value <= row.high <= highest
            assert row.high - row.low > 0.01


def test_limits_of_corrected_shares_lie_in_their_range_though_the_share_may_not() -> None:
    """Nobody is read as male, though the labeller errs: the linear estimate of that share is below 0."""
    rng = np.random.default_rng(12)
    table = np.kron([[0.97, 0.03], [0.03, 0.97]], np.eye(4))
    joint = np.stack([rng.multinomial(60, np.eye(8)[0] @ table).reshape(2, 4) for _ in range(3)])
    joint[:, 0, 0], joint[:, 1, 0] = (60, 59, 60), (0, 1, 0)
    found = table_of(counted(joint), calibrated(table))
    for metric, lowest in (("share[male]", 0), ("gap[male]", -1)):
        row = one(found, metric, "gender", "corrected")
        assert row.value < lowest == row.low < row.high
    row = one(found, "share[female]", "gender", "corrected")
    assert row.value > 1 == row.high > row.low


@pytest.mark.parametrize("female", [40, 37, 20])
def test_rd_of_one_prompt_has_its_bounds_in_the_tasks_row_too(female: int) -> None:
    joint = np.zeros((3, 2, 4), dtype=np.int64)
    joint[1, 0, 1], joint[1, 1, 1] = female, 40 - female
    counts = counted(joint)
    found = table_of(counts, single=True)
    short = estimates.estimate(counts, [], correction.prepare(None, None, counts, BY_HAND), prompts=False)
    for attribute in ("gender", "race4", "gender_x_race4"):
        task, prompt = (one(found, "rd", attribute, *of) for of in (("raw", "task"), ("bounds", "prompt")))
        assert (task.low, task.high, task.ci_method) == (prompt.low, prompt.high, estimates.BOUNDS)
        assert task.value == pytest.approx(prompt.value)
        assert (one(short, "rd", attribute).low, one(short, "rd", attribute).high) == (task.low, task.high)
    row = one(found, "rd", "gender")
    seen, x = 2 * female / 40 - 1, np.arange(41)

    def rarer(rd: float, shown: NDArray[np.bool_]) -> bool:
        return bool(sp.binom(40, (1 + rd) / 2).pmf(x) @ shown <= 0.05)

    as_large, as_small = np.abs(x / 20 - 1) >= seen - 1e-9, np.abs(x / 20 - 1) <= seen + 1e-9
    step = 1 / 256  # the bounds are rounded outwards to it
    assert row.low == 0 or (rarer(row.low, as_large) and not rarer(row.low + step, as_large))
    assert row.high == 1 or (rarer(row.high, as_small) and not rarer(row.high - step, as_small))
    assert (row.low == 0, row.high == 1) == (female == 20, female == 40)


def test_rd_of_two_prompts_is_no_rd_of_one() -> None:
    joint = np.full((2, 2, 4), 5, dtype=np.int64)
    assert one(table_of(counted(joint)), "rd", "gender").ci_method == quantities.AT_THESE_COUNTS


def test_floor_and_ceiling_go_through_the_labeller(joint: NDArray[np.int64], plain: list[Estimate]) -> None:
    perfect = one(plain, "rd", "gender")
    k = np.arange(41)
    assert perfect.floor == pytest.approx((np.abs(2 * k / 40 - 1) * sp.binom(40, 0.5).pmf(k)).sum(), abs=0.002)
    assert (perfect.ceiling, one(plain, "rd", "race4").ceiling) == (1.0, 0.5)
    gender = np.array([[0.94, 0.06], [0.06, 0.94]])
    noisy = table_of(counted(joint), calibrated(np.kron(gender, np.eye(4))))
    row = one(noisy, "rd", "gender")
    assert row.ceiling == pytest.approx(0.88)
    assert row.calibration and len(row.calibration) == 64


def test_a_perfect_labeller_changes_no_value(joint: NDArray[np.int64], plain: list[Estimate]) -> None:
    found = table_of(counted(joint), calibrated(np.eye(8)))
    for attribute in ("gender", "race4", "gender_x_race4"):
        for metric in ("concentration", "rd"):
            raw, corrected = one(found, metric, attribute), one(found, metric, attribute, "corrected")
            assert corrected.value == pytest.approx(raw.value, abs=1e-5)
    raw, corrected = one(found, "gap[female]", "gender"), one(found, "gap[female]", "gender", "corrected")
    assert corrected.value == pytest.approx(raw.value)
    assert (corrected.low, corrected.high) == pytest.approx((raw.low, raw.high), abs=0.02)
    assert [e.reason for e in plain if e.estimate == "corrected" and e.metric == "concentration"] == [
        "no calibration: the labeller's card names none"
    ] * 6


def test_a_known_confusion_is_undone() -> None:
    rng = np.random.default_rng(8)
    truth = rng.dirichlet(np.full(8, 0.6), size=40)
    table = 0.85 * np.eye(8) + 0.15 / 8
    seen = np.stack([rng.multinomial(160, p @ table).reshape(2, 4) for p in truth])
    found = table_of(counted(seen), calibrated(table))
    for attribute, shares in (("gender", truth.reshape(-1, 2, 4).sum(axis=2)), ("gender_x_race4", truth)):
        k = shares.shape[1]
        true = float(((k * (shares**2).sum(axis=1) - 1) / (k - 1)).mean())
        raw, fixed = one(found, "concentration", attribute), one(found, "concentration", attribute, "corrected")
        assert fixed.low < true < fixed.high
        assert not raw.low < true < raw.high


def test_a_calibration_that_cannot_hold_is_refused() -> None:
    """All faces of one cell, and a table under which no cell is read so purely."""
    joint = np.zeros((6, 2, 4), dtype=np.int64)
    joint[:, 0, 0] = 160
    found = table_of(counted(joint), calibrated(0.8 * np.eye(8) + 0.2 / 8))
    row = one(found, "concentration", "gender", "corrected")
    assert np.isnan(row.value)
    assert row.reason is not None and row.reason.startswith("calibration does not transfer")


def test_missed_faces_without_a_calibration_get_their_worst_case(joint: NDArray[np.int64]) -> None:
    found = table_of(counted(joint, faceless=10))
    row, rd = one(found, "rd", "gender", "worst-case-misses"), one(found, "rd", "gender")
    female = joint.sum(axis=2)[:, 0]
    most = np.maximum(np.abs(female + 10 - (40 - female)), np.abs(female - (40 - female) - 10)) / 50
    assert row.high == pytest.approx(most.mean())
    assert row.low < rd.value < row.high
    c, raw = one(found, "concentration", "gender", "worst-case-misses"), one(found, "concentration", "gender")
    given = [np.stack([female + 10, 40 - female], axis=-1), np.stack([female, 50 - female], axis=-1)]
    assert c.high == pytest.approx(np.maximum(*map(concentration, given)).mean())
    assert c.low < raw.value < c.high
    refused = counted(joint)
    refused.requested = refused.requested + 10
    assert one(table_of(refused), "concentration", "gender", "worst-case-misses").high == pytest.approx(c.high)


def test_the_order_of_prompts_and_labels_changes_nothing(joint: NDArray[np.int64], plain: list[Estimate]) -> None:
    for other in (counted(joint[::-1]), counted(joint[:, ::-1], where=space(("male", "female")))):
        turned = table_of(other)
        for metric in ("rd", "concentration", "share[female]", "entropy", "pooled-rd"):
            a, b = one(plain, metric, "gender"), one(turned, metric, "gender")
            assert b.value == pytest.approx(a.value)
            if not np.isnan(a.low):  # intervals that redraw images agree up to Monte Carlo error
                assert (b.low, b.high) == pytest.approx((a.low, a.high), abs=0.01)


def test_prompts_with_too_few_faces_are_counted_not_hidden() -> None:
    joint = np.zeros((5, 2, 4), dtype=np.int64)
    joint[:4, 0, 0], joint[:4, 1, 1] = 10, 10
    joint[3] = 0
    found = table_of(counted(joint, faceless=5), n0=10)
    row = one(found, "rd", "gender", "rarefied")
    reason = "2 of 5 prompts would be left out: they have fewer than 10 images with a face"
    assert (row.prompts, row.reason) == (3, reason) and np.isnan(row.value)
    assert one(found, "concentration", "gender").prompts == 3


def test_no_face_at_all_gives_no_number() -> None:
    found = table_of(counted(np.zeros((3, 2, 4), dtype=np.int64), faceless=7))
    values = [e.value for e in found if e.metric in ("rd", "concentration", "pooled-rd") and e.prompt is None]
    assert values
    assert all(np.isnan(values))


def test_a_coarser_attribute_is_corrected_by_its_sources_calibration() -> None:
    """race4 of a labeller that is calibrated on race7, and no age where no age was calibrated."""
    card = space().card
    data = card.model_dump(by_alias=True, exclude_none=True)
    shades = {"WMELH": "light", "Black": "dark", "Indian": "dark", "Asian": "light"}
    data["attributes"]["shade"] = {"labels": ["light", "dark"], "from": "race4", "map": shades}
    where = LabelSpace(LabellerCard.model_validate(data))
    repair = Correction(calibrated(np.eye(8)), where, None)
    assert repair.groups(("shade",)) == [0, 1, 1, 0] * 2
    assert repair.groups(("gender", "shade")) == [0, 1, 1, 0, 2, 3, 3, 2]
    table = repair.table(("shade",))
    assert table is not None
    np.testing.assert_allclose(table.sum(axis=1), 1)


def test_the_floor_of_a_coarser_attribute_is_that_of_its_own_classes() -> None:
    """Cells of one class count together: four cells read without error do not make a fair model of two look unfair."""
    data = space(crosses=False).card.model_dump(by_alias=True, exclude_none=True)
    shades = {"WMELH": "light", "Black": "dark", "Indian": "dark", "Asian": "dark"}
    data["attributes"]["shade"] = {"labels": ["light", "dark"], "from": "race4", "map": shades}
    joint = np.full((10, 2, 4), 20, dtype=np.int64)
    where = LabelSpace(LabellerCard.model_validate(data))
    counts = counted(joint, where=where)
    row = one(
        estimates.estimate(counts, [], correction.prepare(calibrated(np.eye(8)), None, counts, BY_HAND)), "rd", "shade"
    )
    k = np.arange(161)
    assert row.floor == pytest.approx((np.abs(2 * k / 160 - 1) * sp.binom(160, 0.5).pmf(k)).sum(), abs=0.002)


def test_another_labellers_table_sets_no_floor(joint: NDArray[np.int64]) -> None:
    counts = counted(joint)
    table = 0.7 * np.eye(8) + 0.3 / 8
    repair = correction.prepare(calibrated(table), "its card changed since", counts, BY_HAND)
    series = list(measure_series.evaluate(counts, prompts(len(joint)), {}))
    row = one(estimates.estimate(counts, series, repair), "rd", "gender")
    assert (row.ceiling, row.calibration) == (1.0, None)


def test_a_prompt_that_shows_hardly_anybody_is_left_out_of_corrected_values() -> None:
    """With a row "no person", shares divide by the people shown: 3 faces in 160 images say nothing about them."""
    from fairbench.stats.correction_interval import concentration_interval

    known = np.array([[900, 50, 50], [60, 890, 50], [10, 10, 980]])
    usual = np.array([[90, 66, 4], [60, 92, 8]])
    alone = concentration_interval(usual, known, "this list", np.random.default_rng(0))
    for odd in ([0, 0, 160], [1, 0, 159], [2, 1, 157], [3, 2, 155]):
        found = concentration_interval(np.vstack([usual, odd]), known, "this list", np.random.default_rng(0))
        assert (found.prompts, found.left_out) == (2, 1)
        assert found.estimate == pytest.approx(alone.estimate)


def test_corrected_rows_say_which_prompts_they_leave_out() -> None:
    joint = np.zeros((4, 2, 4), dtype=np.int64)
    joint[0, 0, 0] = joint[1, 1, 1] = 30
    joint[0, 1, 2] = joint[1, 0, 3] = 10
    joint[2, 0, 0], joint[3, 1, 1] = 1, 3
    found = table_of(counted(joint), calibrated(np.eye(8)))
    for metric in ("concentration", "rd", "share[female]"):
        row = one(found, metric, "gender", "corrected")
        assert (row.prompts, row.reason) == (2, "over 2 of 4 prompts (2 have too few faces)")


def one_sided(images_per_prompt: int, prompts_of: int = 6) -> Counts:
    """Return counts of prompts that only ever show the first group."""
    joint = np.zeros((prompts_of, 2, 4), dtype=np.int64)
    joint[:, 0, 0] = images_per_prompt
    return counted(joint)


def noisy_calibration() -> Calibration:
    return calibrated(0.92 * np.eye(8) + 0.01 * np.ones((8, 8)))


@pytest.mark.parametrize("counts", [one_sided(30), one_sided(1), one_sided(4, 1), one_sided(1, 1)])
@pytest.mark.parametrize("calibration", [None, noisy_calibration()])
def test_no_interval_has_no_width(counts: Counts, calibration: Calibration | None) -> None:
    """One-sided runs once had kl-uniform [.6931, .6931], and corrected gaps of width 1e-16."""
    rows = table_of(counts, calibration)
    with_limits = [e for e in rows if not np.isnan(e.low)]
    assert with_limits
    for e in with_limits:
        assert e.high - e.low > 1e-9, e
    for e in rows:
        if e.reason and "nothing varies" in e.reason:
            assert np.isnan([e.low, e.high, e.error]).all()
            assert e.ci_method is None


def test_a_metric_of_a_one_sided_run_says_why_it_has_no_interval() -> None:
    row = one(table_of(one_sided(30)), "kl-uniform", "gender")
    assert row.value == pytest.approx(np.log(2))
    assert row.reason == "nothing varies: no interval"


def test_rd_of_one_image_per_prompt_has_no_interval() -> None:
    """RD of one face is 1 whatever the model: [1, 1] is no certainty."""
    rng = np.random.default_rng(1)
    joint = np.stack([rng.multinomial(1, np.full(8, 1 / 8)).reshape(2, 4) for _ in range(12)])
    rows = table_of(counted(joint))
    row = one(rows, "rd", "gender")
    assert row.value == 1.0
    assert np.isnan([row.low, row.high]).all()
    assert "nothing varies" in str(row.reason)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (lambda k: (0.0, 1 / (k - 2)), "ZeroDivisionError"),
        (lambda k: (1.0, 0.0), "low first"),
        (lambda k: k, "TypeError"),
    ],
)
def test_a_metric_whose_limits_cannot_be_computed_is_left_out(limits: Callable[[int], object], reason: str) -> None:
    broken = replace(rd, spec=replace(rd.spec, limits=limits))  # type: ignore[arg-type]
    guarded = measure_series._Guarded(broken, "The metric 'theirs'")
    with pytest.raises(PluginError, match=reason):
        guarded.try_out(set())
    assert guarded.spec.limits is not None
    assert guarded.spec.limits(2) == (-math.inf, math.inf) and reason in guarded.fault
