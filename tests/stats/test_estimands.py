"""What is estimated, against enumeration: every possible draw with its probability, no formula shared with the code."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import hypergeom, multinomial, multivariate_hypergeom

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import concentration, pooled_rd, rd_at, shares, task_mean

COUNTS = st.integers(2, 5).flatmap(
    lambda k: arrays(np.int64, st.tuples(st.integers(1, 4), st.just(k)), elements=st.integers(0, 30))
)


def draws(n: int, classes: int) -> Iterator[tuple[int, ...]]:
    """All count vectors of n faces."""
    return (c for c in itertools.product(range(n + 1), repeat=classes) if sum(c) == n)


def expected(statistic: object, n: int, p: list[float]) -> float:
    """The expectation of a statistic of the counts of n independent faces."""
    return sum(multinomial.pmf(c, n, p) * float(statistic(np.array(c))) for c in draws(n, len(p)))  # type: ignore[operator]


@pytest.mark.parametrize("counts", [[3, 2], [5, 0], [4, 4], [3, 1, 2], [0, 0, 4], [2, 1, 2, 3], [4, 1, 0, 1]])
def test_rd_at_is_the_mean_over_all_draws_without_replacement(counts: list[int]) -> None:
    for n0 in range(1, sum(counts) + 1):
        found = sum(
            multivariate_hypergeom.pmf(c, counts, n0) * relative_diversity(np.array(c) / n0)
            for c in draws(n0, len(counts))
            if all(x <= y for x, y in zip(c, counts, strict=True))
        )
        assert rd_at(np.array(counts), n0) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize(("p", "n", "n0"), [([0.5, 0.5], 9, 4), ([0.8, 0.2], 7, 7), ([0.6, 0.3, 0.1], 6, 5)])
def test_rd_at_is_unbiased_for_independent_faces(p: list[float], n: int, n0: int) -> None:
    truth = expected(lambda c: relative_diversity(c / n0), n0, p)
    assert expected(lambda c: rd_at(c, n0), n, p) == pytest.approx(truth, abs=1e-12)


def test_rd_at_is_unbiased_whatever_the_number_of_faces() -> None:
    rng = np.random.default_rng(0)
    p = [0.5, 0.2, 0.2, 0.1]
    few = relative_diversity(rng.multinomial(60, p, size=20_000) / 60)
    many = rd_at(rng.multinomial(160, p, size=4_000), 60)
    error = np.hypot(few.std() / np.sqrt(len(few)), many.std() / np.sqrt(len(many)))
    assert abs(few.mean() - many.mean()) < 3.5 * error
    assert many.std() < few.std()  # more faces: the same quantity, less noise


@pytest.mark.parametrize(("a", "b", "n0"), [(10_000, 10_000, 15_000), (19_000, 1_000, 12_345), (20_000, 0, 7)])
def test_rd_at_of_many_faces_agrees_with_scipy(a: int, b: int, n0: int) -> None:
    x = np.arange(n0 + 1)
    found = (hypergeom.pmf(x, a + b, a, n0) * np.abs(2 * x - n0)).sum() / n0
    assert rd_at(np.array([a, b]), n0) == pytest.approx(found, rel=1e-8)


def test_rd_at_takes_a_number_of_faces_a_prompt() -> None:
    counts = np.array([[4, 2, 0], [1, 1, 1], [0, 0, 0]])
    found = rd_at(counts, [6, 2, 1])
    assert found[0] == pytest.approx(relative_diversity(np.array([4, 2, 0]) / 6))
    assert found[1] == pytest.approx(1 / 3)  # two faces of different classes: |1/2 - 0| in two of three pairs
    assert np.isnan(found[2])
    assert np.isnan(rd_at(counts, 7)).all()
    with pytest.raises(ValueError, match="at least 1"):
        rd_at(counts, [6, 0, 1])


@given(COUNTS, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_of_classes_and_prompts_changes_nothing(counts: np.ndarray, random: object) -> None:
    classes, prompts = list(range(counts.shape[1])), list(range(len(counts)))
    random.shuffle(classes)  # type: ignore[attr-defined]
    random.shuffle(prompts)  # type: ignore[attr-defined]
    for statistic in (concentration, lambda c: rd_at(c, 5)):
        np.testing.assert_allclose(statistic(counts[prompts][:, classes]), statistic(counts)[prompts], atol=1e-12)
    np.testing.assert_allclose(pooled_rd(counts[prompts][:, classes]), pooled_rd(counts), atol=1e-12)
    leading = np.stack([counts, counts[prompts]])
    np.testing.assert_allclose(rd_at(leading, 5), [rd_at(counts, 5), rd_at(counts[prompts], 5)], atol=1e-12)


@given(COUNTS)
@settings(max_examples=40, deadline=None)
def test_fewer_faces_look_less_balanced_never_more(counts: np.ndarray) -> None:
    n = counts.sum(axis=1)
    chosen = counts[n > 0]
    values = [rd_at(chosen, np.minimum(n0, n[n > 0])) for n0 in (1, 2, 5, 1000)]
    assert all((a >= b - 1e-12).all() for a, b in itertools.pairwise(values))


@pytest.mark.parametrize(("p", "n"), [([0.5, 0.5], 2), ([0.9, 0.1], 8), ([0.6, 0.3, 0.1], 5), ([0.25] * 4, 4)])
def test_concentration_is_unbiased(p: list[float], n: int) -> None:
    k = len(p)
    truth = (k * sum(x * x for x in p) - 1) / (k - 1)
    assert expected(concentration, n, p) == pytest.approx(truth, abs=1e-12)


def test_concentration_is_not_clipped_and_needs_two_faces() -> None:
    found = concentration(np.array([[80, 80], [160, 0], [1, 0], [0, 0]]))
    assert found[0] == pytest.approx(-1 / 159)
    assert found[1] == 1
    assert np.isnan(found[2:]).all()


def test_pooled_rd_lets_opposite_prompts_cancel() -> None:
    counts = np.array([[10, 0], [0, 10]])
    assert pooled_rd(counts) == 0
    assert relative_diversity(shares(counts)).mean() == 1


def test_shares_and_task_mean_say_what_they_left_out() -> None:
    p = shares(np.array([[3, 1], [0, 0]]))
    assert p[0].tolist() == [0.75, 0.25]
    assert task_mean(p[:, 0]) == (0.75, 1, 1)
    value, used, left_out = task_mean(np.array([np.nan]))
    assert np.isnan(value)
    assert (used, left_out) == (0, 1)
