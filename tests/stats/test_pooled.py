"""Pooled concentration: unbiased by enumeration, its variance and its intervals by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from fairbench.stats.estimands import concentration, concentration_of_shares
from fairbench.stats.intervals import concentration_of_prompts, interval_of
from fairbench.stats.pooled import pooled_concentration
from fairbench.stats.units import units_of_images

OPPOSITE = [[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 3
RACES = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]] * 4


def test_it_is_unbiased_over_all_that_two_prompts_can_show() -> None:
    images, p = (4, 5), (0.9, 0.2)
    expected = 0.0
    for first in itertools.product(range(images[0] + 1), range(images[1] + 1)):
        counts = np.array([[x, n - x] for x, n in zip(first, images, strict=True)])
        weight = np.prod([binom.pmf(x, n, q) for x, n, q in zip(first, images, p, strict=True)])
        expected += weight * pooled_concentration(counts).value[0]
    together = (4 * 0.9 + 5 * 0.2) / 9
    assert expected == pytest.approx((2 * together - 1) ** 2)


def test_prompts_that_lean_opposite_ways_cancel_exactly() -> None:
    assert pooled_concentration(np.array([[8, 0], [0, 8]])).value[0] == pytest.approx(0)
    alone = np.array([[3, 2, 4], [1, 0, 0]])
    assert pooled_concentration(alone).value[0] == pytest.approx(concentration(alone[0]))
    assert pooled_concentration(alone).variance == pytest.approx(concentration_of_prompts(alone[:1]).variance)
    assert np.isnan(pooled_concentration(np.array([[1, 1]])).value[0])


@pytest.mark.parametrize("shares", [[[0.5, 0.5]] * 6, OPPOSITE, RACES, [[0.25] * 4] * 5, [[0.97, 0.03]] * 4])
def test_it_is_covered_and_its_variance_is_right(shares: list[list[float]]) -> None:
    """Also with three faces per image that are all alike, which are worth no more than one."""
    rng, p = np.random.default_rng(0), np.array(shares)
    prompts, classes = p.shape
    truth = float(concentration_of_shares(p.mean(axis=0)))
    counts = rng.multinomial(40, p, size=(500, prompts))
    found = [pooled_concentration(c) for c in counts]
    intervals = [interval_of(f, "this list", 0.95, -np.inf, 1.0) for f in found]
    assert np.mean([f.value[0] for f in found]) == pytest.approx(truth, abs=0.006)
    assert np.mean([i.low <= truth <= i.high for i in intervals]) >= 0.93
    ratio = np.mean([f.variance[0] for f in found]) / np.var([f.value[0] for f in found])
    assert 0.85 < ratio < 2.5  # too large at balance, as that of concentration is
    for of_run, of_faces in zip(found[:20], counts, strict=False):
        prompt, cell = (np.repeat(x.ravel(), of_faces.ravel()) for x in np.indices(of_faces.shape))
        alike = pooled_concentration(units_of_images(prompt, 3 * np.eye(classes, dtype=np.int64)[cell], prompts))
        assert alike.value == pytest.approx(of_run.value)
        assert alike.variance == pytest.approx(of_run.variance)
