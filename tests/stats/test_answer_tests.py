"""Tests of answers: against all tables written out, and how often they reject what is and what is not true."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from fairbench.stats.answer_tests import same_in_all_prompts, stated_in_all_prompts


def pearson(table: np.ndarray, expected: np.ndarray) -> float:
    return float(((table - expected) ** 2 / expected).sum())


def test_same_is_the_permutation_test_with_every_order_of_the_answers_written_out() -> None:
    answers, prompts = [0, 0, 0, 1, 1, 2, 0], [0, 0, 0, 1, 1, 1, 2]
    table = np.zeros((3, 3), dtype=np.int64)
    np.add.at(table, (prompts, answers), 1)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / 7
    as_extreme = 0
    for order in itertools.permutations(answers):
        other = np.zeros((3, 3))
        np.add.at(other, (prompts, list(order)), 1)
        as_extreme += pearson(other, expected) >= pearson(table, expected) - 1e-12
    p = same_in_all_prompts(table, np.random.default_rng(0), draws=40_000)
    assert p == pytest.approx(as_extreme / math.factorial(7), abs=0.01)


def test_stated_is_the_multinomial_test_with_every_table_written_out() -> None:
    shares, table = (0.5, 0.3, 0.2), np.array([[4, 0, 0], [1, 1, 1]])
    rows = [[c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n] for n in (4, 3)]
    tables = [np.array(pair) for pair in itertools.product(*rows)]
    odds = np.array([math.prod(stats.multinomial.pmf(row, row.sum(), shares) for row in each) for each in tables])

    def tails(statistic: Callable[[np.ndarray], float]) -> np.ndarray:
        """Return the probability of at least as large a statistic, of every table."""
        values = np.array([round(statistic(each), 9) for each in tables])
        return np.array([odds[values >= value].sum() for value in values])

    of_all = tails(lambda each: pearson(each.sum(axis=0), np.array([3.5, 2.1, 1.4])))
    of_prompts = tails(lambda each: pearson(each, np.outer([4, 3], shares)))
    smaller = np.round(np.minimum(of_all, of_prompts), 9)
    (index,) = [i for i, each in enumerate(tables) if (each == table).all()]
    exact = odds[smaller <= smaller[index]].sum()
    p = stated_in_all_prompts(table, shares, np.random.default_rng(0), draws=40_000)
    assert p == pytest.approx(float(exact), abs=0.01)


def test_what_is_true_is_rejected_in_one_of_twenty_and_what_is_not_nearly_always() -> None:
    rng = np.random.default_rng(11)
    shares = [0.75, 0.2, 0.05]
    fair = [rng.multinomial(8, shares, size=10) for _ in range(400)]
    for test in (lambda c: same_in_all_prompts(c, rng, 199), lambda c: stated_in_all_prompts(c, shares, rng, 199)):
        assert np.mean([test(c) <= 0.05 for c in fair]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    leaning = np.array([[7, 1], [1, 7]] * 5)
    assert same_in_all_prompts(leaning, rng) < 0.001
    assert stated_in_all_prompts(leaning, [0.5, 0.5], rng) < 0.001
    alike = np.array([[6, 2]] * 10)  # far from even, and the same everywhere
    assert same_in_all_prompts(alike, rng) > 0.9 and stated_in_all_prompts(alike, [0.5, 0.5], rng) < 0.001
    assert stated_in_all_prompts(leaning * 0 + 4, [0.5, 0.5], rng) == 1.0


def test_what_cannot_be_tested_has_no_p_value() -> None:
    rng = np.random.default_rng(0)
    assert np.isnan(same_in_all_prompts(np.array([[3, 0], [5, 0]]), rng))  # one answer alone
    assert np.isnan(same_in_all_prompts(np.array([[3, 4], [0, 0]]), rng))  # one prompt alone
    assert np.isnan(stated_in_all_prompts(np.zeros((2, 3), dtype=np.int64), [0.2, 0.3, 0.5], rng))
    assert stated_in_all_prompts(np.array([[8, 0], [9, 0]]), [0.5, 0.5], rng) < 0.001
