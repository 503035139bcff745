"""Distribution bias: values worked out by hand, numpy's own trapezoids, and what chance alone makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats.object_counts import distribution_bias, even_distribution_bias

BY_HAND = [
    ([5, 3, 1, 1], 1.0),  # 1, 1/2, 0, 0: 3/4 + 1/4 + 0
    ([1, 3, 5, 1], 1.0),  # in whatever order
    ([9, 1], 0.5),
    ([4, 4, 4], 2.0),  # no range: each is taken as 1
    ([10, 8, 6, 4, 2, 0], 2.0),  # what was never named is no object: 1, 3/4, 1/2, 1/4, 0
    ([100, 1, 1, 1, 1], 0.5),  # one thing takes nearly all
]


@pytest.mark.parametrize(("counts", "area"), BY_HAND)
def test_values_by_hand(counts: list[int], area: float) -> None:
    assert distribution_bias(counts) == pytest.approx(area)


def test_it_is_numpys_trapezoidal_rule() -> None:
    rng = np.random.default_rng(8)
    for size in (2, 3, 40):
        counts = rng.geometric(0.1, size)
        ordered = np.sort(counts)[::-1].astype(float)
        normalised = (ordered - ordered[-1]) / (ordered[0] - ordered[-1])
        assert distribution_bias(counts) == pytest.approx(np.trapezoid(normalised, dx=1.0))


@pytest.mark.parametrize("counts", [[], [7], [0, 7, 0], [0, 0]])
def test_fewer_than_two_objects_have_none(counts: list[int]) -> None:
    assert np.isnan(distribution_bias(counts))
    assert np.isnan(even_distribution_bias(7, 1, np.random.default_rng(0)))


def test_the_fair_reading_is_what_chance_makes_of_even_objects() -> None:
    rng = np.random.default_rng(4)
    drawn = [distribution_bias(np.bincount(rng.integers(12, size=90), minlength=12)) for _ in range(2000)]
    assert even_distribution_bias(90, 12, rng) == pytest.approx(np.mean(drawn), rel=0.04)
