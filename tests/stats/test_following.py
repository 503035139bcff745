"""Shares of a class that differs by prompt: golden vectors, their intervals, and the labeller's errors undone."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from fairbench.stats import following
from fairbench.stats.units import Units

MEMBER = np.repeat(np.eye(4, dtype=bool), 4, axis=0)
PARTS = list(MEMBER.T)


def table(recalls, misses):
    """Return P(read | true) (4, 5): what is not recalled is spread evenly; the last column is "no face"."""
    rates = np.array([[r if i == j else (1 - r) / 3 for j in range(4)] for i, r in enumerate(recalls)])
    return np.column_stack([rates * (1 - np.array(misses)[:, None]), misses])


TABLE = table([0.93, 0.75, 0.85, 0.9], [0.02, 0.05, 0.08, 0.1])


def test_the_class_of_each_prompt_is_counted_and_images_stay_together():
    # Two faces of one image are one draw: kinds are images.
    data = Units(np.array([[2, 0, 1], [0, 1, 0]]), np.array([[3, 1], [0, 2], [1, 0]]))
    pairs = following.in_two(data, np.array([[True, False, False], [False, True, False], [True, True, False]]))
    assert pairs.counts.tolist() == [[6, 4], [2, 0], [2, 1]]
    assert pairs.times.sum(axis=1).tolist() == [4, 2, 1]
    assert following.shares(pairs).tolist() == [0.6, 1.0, 2 / 3]
    nobody = following.in_two(np.zeros((2, 3), dtype=int), np.eye(3, dtype=bool)[:2])
    assert np.isnan(following.shares(nobody)).all()


def test_a_gap_is_the_difference_of_means_over_prompts_by_hand():
    right, n = [9, 3, 1, 10], [10, 4, 8, 10]
    pairs = Units(np.eye(2, dtype=int), np.column_stack([right, np.subtract(n, right)]))
    first, others = np.array([1, 1, 0, 0], dtype=bool), np.array([0, 0, 1, 1], dtype=bool)
    value = following.total(pairs, [(1.0, first), (-1.0, others)])
    by_hand = (Fraction(9, 10) + Fraction(3, 4)) / 2 - (Fraction(1, 8) + 1) / 2
    assert value.estimate == pytest.approx(float(by_hand), abs=1e-12)
    # The limits: each part's own, added in squares (Newcombe 1998).
    one, two = following.mean(pairs, first), following.mean(pairs, others)
    assert value.low == pytest.approx(value.estimate - math.hypot(one.value - one.low, two.high - two.value))
    assert value.high == pytest.approx(value.estimate + math.hypot(one.high - one.value, two.value - two.low))
    assert (value.prompts, value.left_out) == (4, 0)


def test_one_part_of_equal_prompts_has_wilson_s_limits():
    """With as many images as the variance is worth, and three pseudo-images in the variance."""
    pairs = Units(np.eye(2, dtype=int), np.array([[40, 0], [40, 0]]))
    found = following.mean(pairs, np.ones(2, dtype=bool))
    share = 40.75 / 41.5
    images = 1 / (1 / (2 * 41.5) * 40 / 39)  # of two prompts of 41.5 images each
    z = 1.959963984540054
    assert found.variance == pytest.approx(share * (1 - share) / images)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 / (1 + z**2 / images))


def test_two_classes_without_misses_are_cleam_s_formula():
    """Teo et al. 2023: (u - (1 - a1)) / (a0 + a1 - 1) for a prompt of class 0."""
    calibration = np.array([[180, 20, 0], [30, 170, 0]])
    observed = np.array([[27, 5, 0], [8, 24, 0], [1, 1, 0]])
    member = np.array([[True, False], [False, True], [True, False]])
    found = following.Corrected(observed, calibration, member, np.random.default_rng(0))
    value = found.total([(1.0, np.array([True, False, False]))])
    assert value.estimate == pytest.approx((27 / 32 - (1 - 170 / 200)) / (180 / 200 + 170 / 200 - 1))
    assert (value.prompts, value.left_out) == (1, 0)
    gap = found.total([(1.0, np.array([True, False, False])), (-1.0, member[:, 1])])
    other = (24 / 32 - (1 - 180 / 200)) / (180 / 200 + 170 / 200 - 1)
    assert gap.estimate == pytest.approx(value.estimate - other)
    nothing = following.Corrected(observed * [[1], [1], [0]], calibration, member, np.random.default_rng(0))
    assert np.isnan(nothing.total([(1.0, np.array([False, False, True]))]).estimate)
    assert (nothing.total([(1.0, member[:, 0])]).left_out, gap.left_out) == (1, 0)


def test_misses_that_depend_on_the_group_are_undone():
    shown = np.array([[0.8, 0.1, 0.05, 0.05], [0.1, 0.7, 0.1, 0.1]])
    found = following.Corrected(shown @ TABLE * 1e6, TABLE * 1e9, np.eye(4, dtype=bool)[:2], np.random.default_rng(0))
    first, second = np.eye(2, dtype=bool)
    assert found.total([(1.0, first)]).estimate == pytest.approx(0.8)
    assert found.total([(1.0, first), (-1.0, second)]).estimate == pytest.approx(0.1)


def test_a_range_goes_from_what_was_read_to_what_the_whole_errors_leave():
    rng = np.random.default_rng(3)
    observed, calibration = _drawn(rng, np.full(16, 0.95), 40, 500)
    found = following.Corrected(observed, calibration, MEMBER, rng)
    low, high = found.range([(1.0, PARTS[1])])
    read = observed[PARTS[1]]
    assert low.estimate == pytest.approx((read[:, 1] / read[:, :4].sum(axis=1)).mean())
    assert high.estimate == found.total([(1.0, PARTS[1])]).estimate > low.estimate
    assert low.low < low.estimate < high.high


def _drawn(rng, follow, images, each, member=MEMBER):
    shown = np.where(member, follow[:, None], (1 - follow[:, None]) / 3)
    return rng.multinomial(images, shown @ TABLE), rng.multinomial(each, TABLE)


def coverage(follow, images, each, times, occupations=4, seed=0):
    """Return how often intervals hold: of what is read and of what is shown, of a group and of its gap; and size."""
    rng, covered = np.random.default_rng(seed), np.zeros(5)
    member = np.repeat(np.eye(4, dtype=bool), occupations, axis=0)
    first, *others = member.T
    sums = [[(1.0, first)], [(1.0, first), *((-1 / 3, part) for part in others)]]
    for _ in range(times):
        of_prompts = np.clip(follow + rng.uniform(-1, 1, len(member)) * min(follow, 1 - follow), 0, 1)
        observed, calibration = _drawn(rng, of_prompts, images, each, member)
        seen = np.where(member, of_prompts[:, None], (1 - of_prompts[:, None]) / 3) @ TABLE
        as_read = (seen[:, :4] * member).sum(axis=1) / seen[:, :4].sum(axis=1)
        pairs = following.in_two(observed[:, :4], member)
        corrected = following.Corrected(observed, calibration, member, rng)
        found = [following.total(pairs, parts) for parts in sums] + [corrected.total(parts) for parts in sums]
        for i, interval in enumerate(found):
            truth = sum(c * (as_read if i < 2 else of_prompts)[part].mean() for c, part in sums[i % 2])
            middle = min(interval.estimate, 1.0)  # as in the metrics table: around the nearest possible value
            low, high = interval.low - interval.estimate, interval.high - interval.estimate
            covered[i] += middle + low <= truth <= middle + high
            covered[4] += i == 3 and abs(interval.estimate - truth) > 1.959964 * interval.error
    return covered / times


def test_intervals_hold(monkeypatch):
    monkeypatch.setattr(following, "_DRAWS", 100)
    *held, size = coverage(0.9, 12, 300, 150)
    assert min(held) >= 0.92
    assert size <= 0.08


@pytest.mark.long
@pytest.mark.parametrize("follow", [0.6, 0.9, 0.98, 1.0])
@pytest.mark.parametrize(
    ("images", "each", "occupations"),
    [(1, 100, 20), (1, 500, 40), (2, 200, 10), (4, 100, 4), (16, 5000, 4), (64, 100, 4)],
)
def test_intervals_hold_over_many_settings(follow, images, each, occupations):
    *held, size = coverage(follow, images, each, 600, occupations, seed=images)
    assert min(held) >= 0.92
    assert size <= 0.075


def test_fewer_than_eight_images_have_no_interval():
    pairs = Units(np.eye(2, dtype=int), np.array([[3, 1], [2, 1]]))
    found = following.mean(pairs, np.ones(2, dtype=bool))
    assert found.value == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert np.isnan([found.low, found.high, found.variance]).all()
