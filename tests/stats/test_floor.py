"""Floors against the published simulation and against what can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import concentration, rd_at
from fairbench.stats.floor import ceiling, floor, of_shares

NOISY = np.array([[94, 6], [10, 90]])


@pytest.mark.parametrize(
    ("classes", "faces", "value"),
    [(2, 160, 0.063), (4, 160, 0.045), (8, 160, 0.031), (2, 60, 0.103), (4, 60, 0.073), (8, 60, 0.051)],
)
def test_the_floors_of_rd(classes: int, faces: int, value: float) -> None:
    found = floor(of_shares(relative_diversity), np.full(20, faces), classes, np.random.default_rng(0), times=1000)
    assert found.mean == pytest.approx(value, abs=0.002)


def test_one_prompt_of_two_classes_is_a_binomial() -> None:
    x = np.arange(31)
    p = (0.94 + 0.10) / 2
    weight, value = binom.pmf(x, 30, p), np.abs(2 * x / 30 - 1)
    found = floor(of_shares(relative_diversity), np.array([30]), 2, np.random.default_rng(1), NOISY)
    assert found.mean == pytest.approx(weight @ value, abs=0.007)
    order = np.argsort(value)
    assert found.p95 == pytest.approx(value[order][np.cumsum(weight[order]) >= 0.95][0])


def test_a_classifier_that_leans_sets_a_floor_that_no_number_of_faces_lowers() -> None:
    leaning = np.array([[0.9, 0.1], [0.3, 0.7]])
    found = floor(of_shares(relative_diversity), np.array([200_000]), 2, np.random.default_rng(2), leaning, times=200)
    assert found.mean == pytest.approx(0.2, abs=0.002)
    even = floor(concentration, np.array([50] * 8), 2, np.random.default_rng(3), leaning)
    assert even.mean == pytest.approx(0.04, abs=0.003)


def test_concentration_has_no_floor_and_rd_at_the_floor_of_its_n0() -> None:
    faces = np.array([60] * 8)
    none = floor(concentration, faces, 4, np.random.default_rng(4))
    assert none.mean == pytest.approx(0, abs=0.001)
    at = floor(lambda c: rd_at(c, 40), faces, 4, np.random.default_rng(5), times=500)
    direct = floor(of_shares(relative_diversity), np.full(8, 40), 4, np.random.default_rng(6), times=2000)
    assert at.mean == pytest.approx(direct.mean, abs=0.004)
    assert at.p95 < direct.p95


def test_prompts_without_a_face_are_left_out() -> None:
    some = floor(of_shares(relative_diversity), np.array([40, 0, 40]), 2, np.random.default_rng(7), times=500)
    assert some == floor(of_shares(relative_diversity), np.array([40, 40]), 2, np.random.default_rng(7), times=500)
    none = floor(of_shares(relative_diversity), np.array([0, 0]), 2, np.random.default_rng(7))
    assert np.isnan([none.mean, none.p95]).all()


def test_the_draws_are_those_of_the_generator() -> None:
    once, again = (
        floor(of_shares(relative_diversity), np.array([40] * 5), 4, np.random.default_rng(8), times=300) for _ in "ab"
    )
    assert once == again


def test_ceiling_is_the_largest_row() -> None:
    assert [ceiling(relative_diversity, k) for k in (2, 4, 8)] == [1, 0.5, 0.25]
    assert ceiling(relative_diversity, 2, [[0.94, 0.06], [0.06, 0.94]]) == pytest.approx(0.88)
    assert ceiling(relative_diversity, 2, NOISY) == pytest.approx(0.88)
    assert ceiling(relative_diversity, 2, NOISY[::-1, ::-1]) == pytest.approx(0.88)


@pytest.mark.parametrize("table", [np.eye(3), [[1, 0], [0, 0]], [[1.1, -0.1], [0, 1]], [[np.nan, 1], [0, 1]]])
def test_a_table_that_is_none_is_refused(table: object) -> None:
    with pytest.raises(ValueError, match="2 columns"):
        ceiling(relative_diversity, 2, table)  # type: ignore[arg-type]
