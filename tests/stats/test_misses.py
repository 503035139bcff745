"""Bounds of missed faces, against every allocation there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.intervals import concentration_of_prompts
from fairbench.stats.misses import concentration_bounds, extreme_allocations, rd_bounds
from fairbench.stats.units import Units

FOUND = st.lists(st.integers(0, 9), min_size=2, max_size=4)


def _all(found, missed):
    ways = itertools.product(range(missed + 1), repeat=len(found))
    return np.array([np.add(found, way) for way in ways if sum(way) == missed])


@settings(max_examples=60, deadline=None)
@given(FOUND, st.integers(0, 6))
def test_bounds_are_those_of_all_allocations(found, missed):
    every = _all(found, missed)
    even, uneven = extreme_allocations(found, missed)
    assert even.tolist() in every.tolist()
    assert uneven.tolist() in every.tolist()
    if sum(found) + missed:
        values = every / (sum(found) + missed)
        assert np.allclose(rd_bounds(found, missed), [f(relative_diversity(values)) for f in (np.min, np.max)])


@pytest.mark.parametrize("kinds", [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[2, 1, 0], [0, 1, 1], [0, 0, 3]]])
def test_bounds_of_concentration_are_those_of_all_groups_that_missed_people_could_have(kinds):
    """With one face per image and with several; every missed person is in an image of their own."""
    times = np.array([[4, 2, 1], [0, 0, 5]])
    low, high = concentration_bounds(np.array(kinds), times, np.array([3, 2]))
    for prompt, missed in enumerate((3, 2)):
        values = []
        for way in _all([0, 0, 0], missed):
            data = Units(np.vstack([kinds, np.eye(3, dtype=int)]), np.append(times[prompt], way)[None])
            values.append(concentration_of_prompts(data).value[0])
        assert (low[prompt], high[prompt]) == pytest.approx((min(values), max(values)))


def test_prompts_are_bounded_each_by_itself():
    found, missed = np.array([[10, 2, 0, 0], [3, 3, 3, 3], [0, 0, 0, 0]]), np.array([6, 0, 0])
    low, high = rd_bounds(found, missed)
    assert low[:2] == pytest.approx([relative_diversity(np.array([10, 3, 3, 2]) / 18), 0])
    assert high[:2] == pytest.approx([relative_diversity(np.array([16, 2, 0, 0]) / 18), 0])
    assert np.isnan([low[2], high[2]]).all()


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must be counts that fit"):
        rd_bounds([[1, 2]], [1, 2])
    with pytest.raises(ValueError, match="must be counts that fit"):
        rd_bounds([1, 2], -1)
