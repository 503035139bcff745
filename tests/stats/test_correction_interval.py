"""Intervals of corrected means: coverage, what they are made of, and speed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fairbench.stats.correction import corrected_shares
from fairbench.stats.correction_concentration import corrected_concentration
from fairbench.stats.correction_interval import concentration_interval, contrast_interval
from fairbench.stats.intervals import Scope
from fairbench.stats.intervals import concentration_interval as raw_concentration_interval
from fairbench.stats.units import units_of_images
from tests.builders.confusions import GENDER, of_gender, symmetric, true_concentration, with_misses

TABLE = with_misses(symmetric(4, 0.85), [0.95, 0.9, 0.85, 0.7])
SHARES = np.random.default_rng(5).dirichlet(np.ones(4), 50)
SIGNS = [1.0, 1.0, -1.0, -1.0]
THIS_LIST: Scope = "this list"
OTHER_PROMPTS: Scope = "other prompts"


def _data(rng, shares=SHARES, images=160, each=500):
    return rng.multinomial(images, shares @ TABLE), rng.multinomial(each, TABLE)


def _covered(intervals, truth):
    return np.mean([i.low <= truth <= i.high for i in intervals])


def test_intervals_of_these_prompts_cover_the_truth():
    rng = np.random.default_rng(0)
    data = [_data(rng) for _ in range(300)]
    joint = [concentration_interval(o, c, THIS_LIST, rng, draws=100) for o, c in data]
    assert _covered(joint, true_concentration(SHARES).mean()) == pytest.approx(0.95, abs=0.03)
    gender = [concentration_interval(o, c, THIS_LIST, rng, GENDER, draws=100) for o, c in data]
    assert _covered(gender, true_concentration(of_gender(SHARES)).mean()) == pytest.approx(0.95, abs=0.03)
    gap = [contrast_interval(o, c, THIS_LIST, rng, SIGNS, draws=100) for o, c in data]
    assert _covered(gap, (SHARES @ SIGNS).mean()) == pytest.approx(0.95, abs=0.03)
    assert np.mean([g.error for g in gap]) == pytest.approx(np.std([g.estimate for g in gap]), rel=0.12)


def test_intervals_of_a_fair_model_cover_0_and_are_not_much_wider_than_they_need_be():
    rng = np.random.default_rng(1)
    fair = np.full((50, 4), 0.25)
    found = [concentration_interval(*_data(rng, fair), THIS_LIST, rng, draws=100) for _ in range(300)]
    assert _covered(found, 0.0) >= 0.93
    assert np.mean([i.error for i in found]) < 1.4 * np.std([i.estimate for i in found])


def test_intervals_of_prompts_like_these_cover_their_mean():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        observed, calibration = _data(rng, rng.dirichlet(np.ones(4), 20))
        found.append(concentration_interval(observed, calibration, OTHER_PROMPTS, rng, draws=100))
    # Dirichlet(1, 1, 1, 1): the mean of sum p^2 is 4 x 2 / (4 x 5).
    assert _covered(found, (4 * 0.4 - 1) / 3) == pytest.approx(0.95, abs=0.035)


def test_the_value_is_the_task_mean_and_short_prompts_are_counted_out():
    rng = np.random.default_rng(3)
    observed, calibration = _data(rng)
    observed[:3] = [[0, 0, 0, 0, 160], [1, 2, 0, 0, 157], [1, 2, 1, 0, 156]]
    found = concentration_interval(observed, calibration, THIS_LIST, rng, draws=50)
    assert (found.prompts, found.left_out) == (48, 2)
    assert found.estimate == pytest.approx(corrected_concentration(observed[2:], calibration).mean())
    gap = contrast_interval(observed, calibration, THIS_LIST, rng, SIGNS, draws=50)
    assert gap.estimate == pytest.approx((corrected_shares(observed[2:], calibration) @ SIGNS).mean())
    assert np.isnan(concentration_interval(observed[:2], calibration, THIS_LIST, rng, draws=50).estimate)
    assert np.isnan(concentration_interval(observed[4:5], calibration, OTHER_PROMPTS, rng, draws=50).low)


def test_more_images_do_not_lower_the_calibration_s_part():
    rng = np.random.default_rng(4)
    few, many = (concentration_interval(*_data(rng, images=n), THIS_LIST, rng) for n in (160, 160_000))
    assert many.shared == pytest.approx(few.shared, rel=0.2)
    assert many.error == pytest.approx(many.shared, rel=0.02)
    assert concentration_interval(*_data(rng, each=50_000), THIS_LIST, rng).shared < few.shared / 7


def test_a_perfect_labeller_leaves_the_sampling_error_alone():
    rng = np.random.default_rng(5)
    observed = rng.multinomial(160, np.c_[SHARES, np.zeros(50)])
    found = concentration_interval(observed, 500 * symmetric(4, 1.0), THIS_LIST, rng, draws=50)
    raw = raw_concentration_interval(observed[:, :4], THIS_LIST)
    assert found.shared == pytest.approx(0, abs=1e-12)
    assert found.estimate == pytest.approx(raw.estimate)
    assert found.error == pytest.approx(raw.error, rel=0.02)


def test_several_faces_of_an_image_are_one_draw():
    """Every image shows one person twice, read twice: half as many draws as faces."""
    rng = np.random.default_rng(8)
    table, shares, found = symmetric(4, 0.85), SHARES[:12], []
    calibration = rng.multinomial(20_000, table)
    for _ in range(200):
        person = np.concatenate([rng.choice(4, 60, p=p) for p in shares])
        read = np.stack([rng.multinomial(1, table[person]) for _ in range(2)]).sum(axis=0)
        units = units_of_images(np.repeat(np.arange(12), 60), read, 12)
        concentration = concentration_interval(units, calibration, THIS_LIST, rng, draws=20)
        found.append([concentration, contrast_interval(units, calibration, THIS_LIST, rng, SIGNS, draws=20)])
    for intervals, truth in zip(
        zip(*found, strict=True), (true_concentration(shares).mean(), (shares @ SIGNS).mean()), strict=True
    ):
        estimates = np.array([i.estimate for i in intervals])
        assert estimates.mean() == pytest.approx(truth, abs=4 * estimates.std() / np.sqrt(200))
        assert np.mean([i.error for i in intervals]) == pytest.approx(estimates.std(), rel=0.15)
        assert _covered(intervals, truth) == pytest.approx(0.95, abs=0.04)


def test_two_thousand_draws_over_fifty_prompts_take_less_than_five_seconds():
    rng = np.random.default_rng(6)
    observed = rng.multinomial(160, rng.dirichlet(np.ones(8), 50) @ symmetric(8, 0.85))
    calibration = rng.multinomial(500, symmetric(8, 0.85))
    start = time.process_time()
    concentration_interval(observed, calibration, THIS_LIST, rng)
    assert time.process_time() - start < 5


def test_a_contrast_that_does_not_fit_is_refused():
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="one number for each of the 4 cells"):
        contrast_interval(*_data(rng), THIS_LIST, rng, [1.0, -1.0])
