"""Intervals of corrected means: coverage, what they are made of, and speed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from fairbench.stats.correction import corrected_shares
from fairbench.stats.correction_concentration import concentration_of, corrected_concentration, sample_of
from fairbench.stats.correction_interval import concentration_interval, concentration_range, contrast_interval
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


@pytest.mark.long
def test_intervals_of_prompts_like_these_cover_their_mean():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        observed, calibration = _data(rng, rng.dirichlet(np.ones(4), 20))
        found.append(concentration_interval(observed, calibration, OTHER_PROMPTS, rng, draws=100))
    # Dirichlet(1, 1, 1, 1): the mean of sum p^2 is 4 x 2 / (4 x 5).
    assert _covered(found, (4 * 0.4 - 1) / 3) >= 0.93


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
    found = concentration_interval(observed, 10**8 * symmetric(4, 1.0), THIS_LIST, rng, draws=50)
    raw = raw_concentration_interval(observed[:, :4], THIS_LIST)
    assert found.shared == pytest.approx(0, abs=1e-5)
    assert found.estimate == pytest.approx(raw.estimate)
    assert found.error == pytest.approx(raw.error, rel=0.02)


def test_a_task_of_one_class_alone_has_the_error_of_its_pseudo_faces():
    rng = np.random.default_rng(6)
    observed = np.tile([40, 0, 0, 0, 0], (10, 1))
    found = concentration_interval(observed, 10**8 * symmetric(4, 1.0), THIS_LIST, rng, draws=50)
    raw = raw_concentration_interval(observed[:, :4], THIS_LIST)
    assert found.error == pytest.approx(raw.error, rel=0.05)
    assert found.error > 0.003


@pytest.mark.parametrize(
    ("k", "accuracy", "each", "least"), [(2, 0.98, 30, 0.92), (2, 0.95, 50, 0.93), (4, 0.98, 50, 0.93)]
)
def test_sparse_calibrations_cover_the_truth(k, accuracy, each, least):
    """Half of the prompts show one class alone, the same for all: the worst case, as one row bears all of the error."""
    rng = np.random.default_rng(k)
    shares = np.where((np.arange(20) % 2 == 0)[:, None], np.eye(k)[0], 1 / k)
    table = symmetric(k, accuracy)
    found = [
        concentration_interval(
            rng.multinomial(160, shares @ table), rng.multinomial(each, table, size=k), THIS_LIST, rng, draws=200
        )
        for _ in range(150)
    ]
    assert _covered(found, true_concentration(shares).mean()) >= least - 2 * np.sqrt(least * (1 - least) / 150)


def test_an_unseen_misreading_is_not_taken_for_impossible():
    """No misreading in 50 images per row: the interval reaches above what was read, and hardly below."""
    rng = np.random.default_rng(7)
    observed = rng.multinomial(160, SHARES @ symmetric(4, 0.97))
    found = concentration_interval(observed, 50 * symmetric(4, 1.0), THIS_LIST, rng, draws=400)
    raw = raw_concentration_interval(observed[:, :4], THIS_LIST)
    assert found.high - found.estimate > 1.3 * (raw.high - raw.estimate)
    assert found.low <= raw.low + 0.2 * (raw.high - raw.low)


def test_a_range_goes_from_no_errors_to_the_calibration_s():
    rng = np.random.default_rng(8)
    observed, calibration = _data(rng)
    lowest, highest = concentration_range(observed, calibration, THIS_LIST, rng, draws=100)
    whole = concentration_interval(observed, calibration, THIS_LIST, rng, draws=100)
    raw = raw_concentration_interval(observed[:, :4], THIS_LIST)
    assert lowest.estimate == pytest.approx(raw.estimate)
    assert (lowest.low, lowest.high) == pytest.approx((raw.low, raw.high), abs=0.01)
    assert (highest.estimate, highest.prompts) == (pytest.approx(whole.estimate), 50)


def test_a_part_of_the_errors_is_undone_as_a_table_with_that_part():
    """Against the calibration (1 - t) I + t B, counted on so many images that it is exact: the same values."""
    rng = np.random.default_rng(9)
    observed = _data(rng)[0][:6]
    exact = np.round(10**9 * TABLE)
    half = np.round(10**9 * (0.5 * TABLE + 0.5 * np.eye(4, 5)))
    part = concentration_of(replace(sample_of(observed, exact, GENDER), errors=0.5))
    assert part == pytest.approx(corrected_concentration(observed, half, GENDER), abs=1e-6)


def test_the_calibration_s_noise_is_taken_off_where_a_part_of_its_errors_is_undone():
    rng = np.random.default_rng(10)
    shares = np.tile(np.eye(4)[0], (4, 1))
    table = 0.5 * TABLE + 0.5 * np.eye(4, 5)
    drawn = [
        concentration_of(
            replace(
                sample_of(np.round(4000 * shares @ table).astype(int), rng.multinomial(60, TABLE), None), errors=0.5
            )
        ).mean()
        for _ in range(600)
    ]
    assert np.mean(drawn) == pytest.approx(1.0, abs=4 * np.std(drawn) / np.sqrt(600))


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
