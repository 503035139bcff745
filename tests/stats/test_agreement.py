"""Agreement of two labellers, against scikit-learn and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import SquareTable
from statsmodels.stats.inter_rater import cohens_kappa

from fairbench.stats.agreement import agreement, disagreements

TABLE = np.array([[40, 3, 2, 0], [6, 30, 1, 1], [0, 5, 22, 2], [1, 0, 4, 35]])
TABLES = st.integers(2, 5).flatmap(lambda k: arrays(np.int64, (k, k), elements=st.integers(1, 40)))


def test_raw_agreement_and_kappa_match_scikit_learn_and_statsmodels():
    first, second = (np.repeat(axis.ravel(), TABLE.ravel()) for axis in np.indices(TABLE.shape))
    found, oracle = agreement(TABLE), cohens_kappa(TABLE)
    assert found.n == 152
    assert found.raw == pytest.approx((first == second).mean())
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))
    assert found.kappa_error == pytest.approx(oracle.std_kappa)


@settings(max_examples=30, deadline=None)
@given(TABLES)
def test_marginal_homogeneity_matches_statsmodels(table):
    found, oracle = agreement(table), SquareTable(table, shift_zeros=False).homogeneity(method="stuart_maxwell")
    assert found.dof == oracle.df
    assert found.statistic == pytest.approx(oracle.statistic, abs=1e-9)
    assert found.p_value == pytest.approx(oracle.pvalue, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_labels_and_a_label_nobody_gives_change_nothing(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    wider = np.insert(np.insert(table[np.ix_(order, order)], 1, 0, axis=0), 1, 0, axis=1)
    a, b = agreement(table), agreement(wider)
    assert (a.n, a.dof) == (b.n, b.dof)
    for name in ("raw", "kappa", "kappa_error", "statistic", "p_value"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), abs=1e-9)


def test_a_label_that_is_never_confused_takes_no_part_in_the_test():
    confused = TABLE[:2, :2]
    apart = np.zeros((3, 3), dtype=int)
    apart[:2, :2], apart[2, 2] = confused, 50
    found = agreement(apart)
    assert found.dof == 1
    assert found.statistic == pytest.approx((6 - 3) ** 2 / (6 + 3))  # McNemar's


def test_full_agreement_has_nothing_to_test():
    found = agreement(np.diag([5, 7, 0]))
    assert (found.raw, found.dof, found.p_value) == (1.0, 0, 1.0)
    assert (found.kappa, found.kappa_error) == pytest.approx((1.0, 0.0), abs=1e-6)


def test_kappa_is_unknown_where_both_give_one_label_throughout_and_all_is_without_faces():
    assert np.isnan(agreement(np.diag([5, 0])).kappa)
    none = agreement(np.zeros((2, 2), dtype=int))
    assert none.n == 0
    assert np.isnan([none.raw, none.kappa, none.p_value]).all()


def test_the_standard_error_and_the_test_hold_in_simulation():
    rng = np.random.default_rng(0)
    p = np.array([[0.35, 0.05, 0.03], [0.05, 0.2, 0.02], [0.03, 0.02, 0.25]])  # equal margins
    found = [agreement(rng.multinomial(300, p.ravel()).reshape(3, 3)) for _ in range(600)]
    kappas = np.array([f.kappa for f in found])
    assert np.mean([f.kappa_error for f in found]) == pytest.approx(kappas.std(), rel=0.1)
    assert np.mean([f.p_value < 0.05 for f in found]) == pytest.approx(0.05, abs=0.03)
    assert chi2.sf(found[0].statistic, 2) == found[0].p_value


def test_disagreements_come_most_frequent_first():
    found = disagreements(TABLE, ["a", "b", "c", "d"])
    assert [(d.first, d.second, d.count) for d in found[:3]] == [("b", "a", 6), ("c", "b", 5), ("d", "c", 4)]
    assert len(found) == 9
    assert found[0].share == pytest.approx(6 / 152)


def test_a_table_that_is_not_square_or_not_named_is_refused():
    with pytest.raises(ValueError, match="square"):
        agreement(np.ones((2, 3), dtype=int))
    with pytest.raises(ValueError, match="3 labels"):
        disagreements(np.ones((2, 2), dtype=int), ["a", "b", "c"])
