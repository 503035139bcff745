"""Corrected shares and concentration: exact where the table is, unbiased and covered where it is estimated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fairbench.stats.correction import corrected_shares, likely_shares
from fairbench.stats.correction_concentration import (
    concentration_of,
    corrected_concentration,
    sample_of,
    sampling_variance,
)
from fairbench.stats.estimands import concentration
from tests.builders.confusions import GENDER, of_gender, symmetric, true_concentration, with_misses

SEEDS = st.integers(0, 2**32 - 1)


def lopsided(rng, k):
    """Return a table (K, K + 1) of unequal errors and misses."""
    table = 0.75 * np.eye(k) + 0.25 * rng.dirichlet(np.ones(k), k)
    return with_misses(np.c_[table, np.zeros(k)], rng.uniform(0.6, 1, k))


def test_two_classes_without_misses_are_corrected_by_cleam_s_formula():
    a0, a1, counts = 0.9, 0.8, np.array([[70, 90, 0], [30, 130, 0]])
    calibration = 1000 * np.array([[a0, 1 - a0, 0], [1 - a1, a1, 0]])
    read = counts[:, 0] / 160
    cleam = (read - (1 - a1)) / (a0 + a1 - 1)
    assert corrected_shares(counts, calibration) == pytest.approx(np.stack([cleam, 1 - cleam], axis=-1))


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 8), st.booleans())
def test_expected_counts_give_the_true_shares_back(seed, k, somebody_always):
    """Misses and misreadings that depend on the cell, and, with the row for it, faces found where nobody is."""
    rng = np.random.default_rng(seed)
    shares, table = rng.dirichlet(np.ones(k), 3), lopsided(rng, k)
    expected = 1000 * shares @ table
    if not somebody_always:
        nobody = np.r_[0.05 * rng.dirichlet(np.ones(k)), 0.95]
        expected = 700 * shares @ table + 300 * nobody
        table = np.r_[table, nobody[None]]
    for corrected in (corrected_shares, likely_shares):
        assert corrected(expected, 10**6 * table) == pytest.approx(shares, abs=1e-3)
    assert corrected_shares(expected, 10**6 * table) == pytest.approx(shares)


def test_misses_that_depend_on_the_group_are_undone_in_expectation():
    rng = np.random.default_rng(1)
    shares, table = np.array([0.5, 0.5]), np.array([[0.81, 0.09, 0.1], [0.12, 0.48, 0.4]])
    observed = rng.multinomial(160, shares @ table, size=4000)
    calibration = rng.multinomial(2000, table, size=(4000, 2))
    found = corrected_shares(observed[:, None], calibration)[:, 0]
    assert found[:, 0].mean() == pytest.approx(0.5, abs=0.005)
    as_if_none_were_missed = calibration * [1, 1, 0]
    naive = corrected_shares(observed[:, None], as_if_none_were_missed)[:, 0]
    assert naive[:, 0].mean() == pytest.approx(0.9 / 1.5, abs=0.005)  # shares among found faces


def test_likelihood_equals_the_inverse_inside_the_simplex_and_an_optimiser_outside():
    rng = np.random.default_rng(2)
    calibration = 10**4 * with_misses(symmetric(4, 0.8), [0.9, 0.8, 0.95, 0.7])
    observed = np.array([[50, 40, 30, 25, 15], [150, 2, 0, 1, 7], [70, 70, 3, 5, 12], [0, 0, 0, 0, 160]])
    linear, likely = corrected_shares(observed, calibration), likely_shares(observed, calibration)
    assert likely[0] == pytest.approx(linear[0], abs=1e-4)
    assert (linear[1:3] < 0).any(axis=1).all()
    assert np.isnan(linear[3]).all()
    assert np.isnan(likely[3]).all()
    table = calibration[:, :4] / calibration.sum(axis=1, keepdims=True)
    for counts, found in zip(observed[1:3, :4], likely[1:3], strict=True):

        def loss(shares, counts=counts):
            read = shares @ table
            return -(counts * np.log(read / read.sum())).sum()

        best = minimize(loss, rng.dirichlet(np.ones(4)), bounds=[(1e-9, 1)] * 4, tol=1e-12)
        assert loss(found) == pytest.approx(best.fun, abs=1e-4)
        assert found.sum() == pytest.approx(1)
        assert found.min() >= 0


def test_concentration_under_a_perfect_labeller_is_the_raw_one():
    observed = np.array([[50, 40, 30, 40, 0], [160, 0, 0, 0, 0], [1, 1, 0, 0, 9]])
    calibration = np.c_[500 * np.eye(4, dtype=int), np.zeros(4, dtype=int)]
    assert corrected_concentration(observed, calibration) == pytest.approx(concentration(observed[:, :4]))
    gender = np.stack([observed[:, :2].sum(axis=1), observed[:, 2:4].sum(axis=1)], axis=1)
    assert corrected_concentration(observed, calibration, GENDER) == pytest.approx(concentration(gender))


def test_concentration_for_an_exact_table_is_the_mean_over_pairs_of_faces():
    calibration = 10**12 * symmetric(3, 0.8)
    counts = np.array([4, 2, 3])
    rows = np.linalg.inv(symmetric(3, 0.8)[:, :3])[np.repeat(np.arange(3), counts)]
    alike = rows @ rows.T
    mean = (alike.sum() - np.trace(alike)) / (9 * 8)
    assert corrected_concentration(np.array([[*counts, 0]]), calibration) == pytest.approx([(3 * mean - 1) / 2])


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_the_order_of_cells_and_prompts_changes_nothing_else(seed):
    rng = np.random.default_rng(seed)
    calibration = rng.multinomial(300, lopsided(rng, 4))
    observed = rng.integers(3, 60, (5, 5))
    cells, prompts = rng.permutation(4), rng.permutation(5)
    moved, table = observed[prompts][:, [*cells, 4]], calibration[cells][:, [*cells, 4]]
    shares = corrected_shares(observed, calibration)
    assert shares.sum(axis=1) == pytest.approx(np.ones(5))
    assert corrected_shares(moved, table) == pytest.approx(shares[prompts][:, cells])
    likely = likely_shares(observed, calibration)[prompts][:, cells]
    assert likely_shares(moved, table) == pytest.approx(likely, abs=2e-3)
    assert corrected_concentration(moved, table) == pytest.approx(
        corrected_concentration(observed, calibration)[prompts]
    )
    groups = np.array(GENDER)
    same = corrected_concentration(observed, calibration, GENDER)[prompts]
    assert corrected_concentration(moved, table, groups[cells].tolist()) == pytest.approx(same)
    assert corrected_concentration(moved, table, (1 - groups[cells]).tolist()) == pytest.approx(same)


@pytest.mark.parametrize("accuracy", [0.75, 0.9, 1.0])
@pytest.mark.parametrize("k", [2, 4, 8])
@pytest.mark.parametrize("kind", ["fair", "interior", "one-sided"])
def test_corrected_concentration_is_unbiased_where_raw_is_not(k, accuracy, kind):
    rng = np.random.default_rng(k)
    shares = {
        "fair": np.full((50, k), 1 / k),
        "interior": np.random.default_rng(5).dirichlet(np.full(k, 0.5), 50),
        "one-sided": np.eye(k)[np.arange(50) % k],
    }[kind]
    table, truth = symmetric(k, accuracy), true_concentration(shares).mean()
    observed = rng.multinomial(160, shares @ table, size=(200, 50))
    found = corrected_concentration(observed, rng.multinomial(500, table, size=(200, k))).mean(axis=1)
    raw = abs(concentration(observed[..., :k]).mean() - truth)
    # Two Monte Carlo errors on top of the bar: at 75 % the shared calibration moves one task mean by up to 0.12.
    assert abs(found.mean() - truth) <= max(raw / 4, 0.01) + 2 * found.std() / np.sqrt(200)
    assert abs(found.mean() - truth) <= 0.02


def test_margins_misses_and_faces_of_nobody_leave_concentration_unbiased():
    """The joint is corrected, then summed: gender errors that depend on race do no harm."""
    rng = np.random.default_rng(3)
    table = np.r_[lopsided(rng, 4), [[0.02, 0.02, 0.0, 0.01, 0.95]]]
    shares = rng.dirichlet(np.full(4, 0.7), 50)
    images = np.c_[0.8 * shares, np.full(50, 0.2)]
    observed = rng.multinomial(160, images @ table, size=(300, 50))
    calibration = rng.multinomial(1000, table, size=(300, 5))
    found = corrected_concentration(observed, calibration, GENDER).mean(axis=1)
    assert found.mean() == pytest.approx(true_concentration(of_gender(shares)).mean(), abs=0.006)
    joint = corrected_concentration(observed, calibration).mean(axis=1)
    assert joint.mean() == pytest.approx(true_concentration(shares).mean(), abs=0.006)


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize("concentration", [0.5, 200.0])
def test_the_sampling_variance_is_that_of_many_runs(n, concentration):
    rng = np.random.default_rng(4)
    table = lopsided(rng, 3) if n > 4 else symmetric(3, 0.85)
    shares = rng.dirichlet(np.full(3, concentration))
    sample = sample_of(rng.multinomial(2 * n if n > 4 else n, shares @ table, size=20_000), 10**12 * table, None)
    estimate, least = np.nanmean(sampling_variance(sample), axis=-1)
    actual = np.nanvar(concentration_of(sample))
    assert estimate == pytest.approx(actual, rel=0.1)
    assert least <= 1.02 * actual


def test_too_few_faces_have_no_value():
    calibration = 100 * symmetric(2, 0.9)
    assert np.isnan(corrected_concentration(np.array([[1, 0, 50]]), calibration)).all()
    assert np.isnan(corrected_shares([[0, 0, 50]], calibration)).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="are needed, got"):
        corrected_shares([[1, 2]], 100 * symmetric(2, 0.9))
    with pytest.raises(ValueError, match="fewer than two images"):
        corrected_shares([[1, 2, 0]], [[5, 1, 0], [1, 0, 0]])
    for groups in ([0, 1], [0, 0, 0, 0], [0, 2, 2, 0], [0, -1, 1, 1]):
        with pytest.raises(ValueError, match="groups: give each"):
            corrected_concentration(np.array([[1, 2, 3, 4, 0]]), 100 * symmetric(4, 0.9), groups)
