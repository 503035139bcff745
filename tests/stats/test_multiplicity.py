"""Adjusted p-values against statsmodels and scipy, with tests that could not be done, and what they control."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fairbench.stats import multiplicity
from fairbench.stats.multiplicity import benjamini_hochberg, holm

METHODS = {"holm": holm, "fdr_bh": benjamini_hochberg}
p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(multiplicity).failed == 0


@settings(max_examples=50, deadline=None)
@given(p_lists)
def test_they_are_what_statsmodels_and_scipy_compute(p: list[float]) -> None:
    for name, method in METHODS.items():
        assert method(p) == pytest.approx(multipletests(p, method=name)[1])
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


@settings(max_examples=50, deadline=None)
@given(p_lists, st.lists(st.integers(0, 12), max_size=4), st.integers(0, 1_000))
def test_missing_tests_stay_missing_and_order_is_nothing(p: list[float], gaps: list[int], seed: int) -> None:
    with_gaps = np.array(p)
    for gap in gaps:
        with_gaps = np.insert(with_gaps, min(gap, with_gaps.size), np.nan)
    order = np.random.default_rng(seed).permutation(with_gaps.size)
    for method in METHODS.values():
        adjusted = method(with_gaps)
        assert adjusted[~np.isnan(with_gaps)] == pytest.approx(method(p))
        assert np.array_equal(np.isnan(adjusted), np.isnan(with_gaps))
        assert np.array_equal(method(with_gaps[order]), adjusted[order], equal_nan=True)


@settings(max_examples=50, deadline=None)
@given(p_lists)
def test_adjusting_never_helps_keeps_the_order_and_holm_is_the_stricter(p: list[float]) -> None:
    raw, order = np.array(p), np.argsort(p)
    for method in METHODS.values():
        adjusted = method(p)
        assert (adjusted >= raw * (1 - 1e-12)).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[order]) >= 0).all()
    assert (holm(p) >= benjamini_hochberg(p) * (1 - 1e-12)).all()


def test_an_empty_family_and_one_without_tests_are_nothing() -> None:
    for method in METHODS.values():
        assert method([]).size == 0
        assert np.isnan(method([np.nan, np.nan])).all()


def test_values_that_are_no_probabilities_are_refused() -> None:
    for wrong in (-0.01, 1.01):
        for method in METHODS.values():
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                method([0.5, wrong])


def test_what_each_controls() -> None:
    """Eight tests, five of them of true hypotheses, correlated through a shared run."""
    random = np.random.default_rng(4)
    z = random.normal(size=(4_000, 8)) * np.sqrt(0.5) + random.normal(size=(4_000, 1)) * np.sqrt(0.5)
    z[:, 5:] += 3.0
    p = stats.norm.sf(z)
    by_holm, by_bh = (np.apply_along_axis(method, 1, p) <= 0.05 for method in (holm, benjamini_hochberg))
    false_holm = by_holm[:, :5]
    assert false_holm.any(axis=1).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4_000)
    share_false = by_bh[:, :5].sum(axis=1) / np.maximum(by_bh.sum(axis=1), 1)
    assert share_false.mean() <= 0.05
    assert by_bh[:, 5:].mean() > by_holm[:, 5:].mean() + 0.05
