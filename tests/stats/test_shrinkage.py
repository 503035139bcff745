"""Shrunk values, tests and choices of single prompts, against known truths, closed forms and another posterior."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fairbench.stats.estimands import concentration
from fairbench.stats.multiplicity import benjamini_hochberg
from fairbench.stats.shrinkage import (
    balance_p,
    dirichlet_prior,
    effective_counts,
    mixed_prior,
    shrunk_concentration,
)
from fairbench.stats.single_prompts import single_prompts
from fairbench.stats.units import Units, units_of_images

Array = NDArray[np.float64]
PROMPTS = 50


def of_beta(a: float) -> Callable[[np.random.Generator], Array]:
    return lambda random: random.dirichlet([a, a], PROMPTS)


def few_extreme(classes: int) -> Callable[[np.random.Generator], Array]:
    """One prompt in ten shows one class, nearly always; the rest are fair."""

    def draw(random: np.random.Generator) -> Array:
        extreme = random.random((PROMPTS, 1)) < 0.1
        return 0.98 * np.where(extreme, np.eye(classes)[0], 1 / classes) + 0.02 / classes

    return draw


def errors(draw: Callable[[np.random.Generator], Array], faces: int, times: int) -> tuple[float, float, float]:
    """Return the RMSE of raw and of shrunk values over many simulated lists, and the coverage of the intervals."""
    random, squares, covered = np.random.default_rng(3), [], []
    for _ in range(times):
        p = draw(random)
        k, truth = p.shape[1], (p.shape[1] * (p**2).sum(axis=1) - 1) / (p.shape[1] - 1)
        counts = random.multinomial(faces, p)
        shrunk = shrunk_concentration(counts, balance_p(counts, np.full(k, 1 / k), random), random)
        squares.append([((value - truth) ** 2).mean() for value in (concentration(counts), shrunk.value)])
        covered.append(((shrunk.low <= truth) & (truth <= shrunk.high)).mean())
    raw, shrunk_error = np.sqrt(np.mean(squares, axis=0))
    return float(raw), float(shrunk_error), float(np.mean(covered))


@pytest.mark.parametrize(
    ("draw", "faces", "raw", "share"),
    [
        (of_beta(0.25), 8, 0.237, 0.87),  # extreme prompts
        (of_beta(4.0), 8, 0.266, 0.55),  # interior ones
        (of_beta(4.0), 16, 0.163, 0.72),
        (few_extreme(4), 24, 0.040, 0.80),  # where a single Dirichlet is four times as wrong as no shrinking
    ],
    ids=["extreme", "interior", "interior, 16", "few extreme"],
)
def test_shrinking_helps_most_where_faces_are_few(
    draw: Callable[[np.random.Generator], Array], faces: int, raw: float, share: float
) -> None:
    raw_error, shrunk_error, coverage = errors(draw, faces, 15)
    assert raw_error == pytest.approx(raw, rel=0.15)
    assert shrunk_error < share * raw_error
    assert coverage > 0.93


@pytest.mark.long
@pytest.mark.parametrize(
    ("draw", "faces", "raw", "at_most"),
    [
        (of_beta(0.25), 8, 0.238, 0.201),
        (of_beta(0.25), 16, 0.161, 0.150),
        (of_beta(4.0), 8, 0.264, 0.133),
        (of_beta(4.0), 16, 0.163, 0.113),
        (of_beta(1.0), 160, 0.0585, 0.059),
        (few_extreme(2), 24, 0.062, 0.058),
        (few_extreme(7), 8, 0.081, 0.065),
    ],
)
def test_shrinking_over_many_lists(
    draw: Callable[[np.random.Generator], Array], faces: int, raw: float, at_most: float
) -> None:
    raw_error, shrunk_error, coverage = errors(draw, faces, 100)
    assert raw_error == pytest.approx(raw, rel=0.06)
    assert shrunk_error < at_most
    assert coverage > 0.93


def test_the_posterior_is_that_of_the_mixture() -> None:
    """Means and limits against a numerical integral over the share, for two classes."""
    random = np.random.default_rng(5)
    counts = random.multinomial(9, random.dirichlet([0.7, 1.5], 30))
    shrunk = shrunk_concentration(counts, np.zeros(30), random)
    components, weights = mixed_prior(counts.astype(float))
    share = (np.arange(200_000) + 0.5) / 200_000
    for i in (0, 7, 29):
        parts = [stats.beta(*(counts[i] + c)).pdf(share) for c in components]
        density = weights[i] @ np.array(parts)
        value = (2 * share - 1) ** 2
        assert shrunk.value[i] == pytest.approx((density * value).sum() / density.sum(), abs=2e-3)
        order = np.argsort(value)
        reached = np.cumsum(density[order]) / density.sum()
        limits = [value[order][np.searchsorted(reached, q)] for q in (0.025, 0.975)]
        np.testing.assert_allclose([shrunk.low[i], shrunk.high[i]], limits, atol=0.02)


def test_the_fitted_prior_is_the_likeliest_one() -> None:
    """Against scipy's Dirichlet-multinomial on a grid, with the same prior for 1/(1 + A)."""
    random = np.random.default_rng(6)
    counts = random.multinomial(20, random.dirichlet([2.0, 1.0, 0.5], 40))

    def fit(prior: Array) -> float:
        total = prior.sum()
        fitted = stats.dirichlet_multinomial(prior, counts.sum(axis=1)).logpmf(counts).sum()
        return float(fitted + np.log(total) - 2 * np.log1p(total))

    best = dirichlet_prior(counts.astype(float))
    for factor in (0.9, 1.1):
        for k in range(3):
            assert fit(best * np.where(np.arange(3) == k, factor, 1.0)) < fit(best)
    np.testing.assert_allclose(best, [2.0, 1.0, 0.5], rtol=0.5)
    assert dirichlet_prior(np.full((5, 2), 10.0)).min() > 10  # prompts that are alike: a large one, and finite


def test_the_test_of_balance_is_exact() -> None:
    """Binomial for two classes; enumeration for three, also where a labeller reads a fair model unevenly."""
    random = np.random.default_rng(7)
    counts = np.array([[9, 1], [5, 5], [0, 0], [30, 10]])
    p = balance_p(counts, np.array([0.5, 0.5]), random)
    expected = [stats.binomtest(int(c[0]), int(c.sum())).pvalue if c.sum() else np.nan for c in counts]
    np.testing.assert_allclose(p, expected)
    few = np.array([[i, 12 - i] for i in range(13)])
    pmf, far = stats.binom.pmf(few[:, 0], 12, 0.7), np.abs(few[:, 0] - 8.4)
    exact_uneven = [pmf[far >= d - 1e-9].sum() for d in far]
    np.testing.assert_allclose(balance_p(few, np.array([0.7, 0.3]), random), exact_uneven)
    for fair in (np.full(3, 1 / 3), np.array([0.5, 0.3, 0.2])):
        every = np.array([(i, j, 7 - i - j) for i in range(8) for j in range(8 - i)])
        weight = stats.multinomial(7, fair).pmf(every)
        distance = ((every - 7 * fair) ** 2 / fair).sum(axis=1)
        exact = [weight[distance >= d - 1e-9].sum() for d in distance]
        np.testing.assert_allclose(balance_p(every, fair, random), exact, atol=0.015)


@pytest.mark.parametrize(
    ("fair", "size", "times"),
    [([0.5, 0.5], 1, 400), ([0.25] * 4, 4, 40), ([0.316, 0.226, 0.21, 0.248], 1, 40)],
    ids=["two classes", "four equal faces per image", "read unevenly"],
)
def test_of_twenty_lists_of_fair_prompts_one_at_most_has_a_prompt_that_leans(
    fair: list[float], size: int, times: int
) -> None:
    random, shares, found = np.random.default_rng(8), np.array(fair), 0
    for _ in range(times):
        counts = random.multinomial(40, shares, PROMPTS)
        data = counts if size == 1 else Units(size * np.eye(len(fair), dtype=np.int64), counts)
        found += bool((benjamini_hochberg(balance_p(data, shares, random)) <= 0.05).any())
    assert found <= stats.binom.ppf(0.995, times, 0.05)


def test_faces_of_one_image_count_as_much_as_they_say() -> None:
    random = np.random.default_rng(9)
    p = random.dirichlet([0.5, 0.5], PROMPTS)
    equal = Units(3 * np.eye(2, dtype=np.int64), random.multinomial(40, p))
    np.testing.assert_allclose(effective_counts(equal).sum(axis=1), 40, rtol=0.05)  # three that are alike are one
    prompt = np.repeat(np.arange(PROMPTS), 40)
    independent = units_of_images(prompt, random.multinomial(3, p[prompt]), PROMPTS)
    np.testing.assert_allclose(effective_counts(independent).sum(axis=1), 120, rtol=0.15)
    single = random.multinomial(40, p)
    np.testing.assert_array_equal(effective_counts(single), single)


def test_the_worst_are_judged_on_images_that_did_not_choose_them() -> None:
    """Of fair prompts, the five worst look biased by their own choice; judged, they do not, and the interval covers."""
    random, naive, judged, covered = np.random.default_rng(10), [], [], []
    for _ in range(20):
        choosing, judging = random.multinomial(12, np.full((2, PROMPTS, 2), 0.5))
        found = single_prompts(choosing + judging, (choosing, judging))
        naive.append(np.sort(found.raw)[-5:].mean())
        mean = found.worst(5)
        assert mean.estimate == pytest.approx(found.judged[found.order[:5]].mean())
        judged.append(mean.estimate)
        covered.append(mean.low <= 0 <= mean.high)
    assert np.mean(naive) > 0.1
    assert abs(np.mean(judged)) < 4 * np.std(judged) / np.sqrt(20)
    assert np.mean(covered) > 0.9


def test_prompts_without_faces_stay_unknown_and_come_last() -> None:
    counts = np.array([[0, 0, 0], [9, 1, 0], [4, 3, 3]])
    found = single_prompts(counts, (counts, counts))
    assert np.isnan([found.raw[0], found.shrunk[0], found.low[0], found.q[0], found.chosen[0]]).all()
    assert found.order.tolist() == [1, 2, 0]
    nobody = single_prompts(np.zeros((3, 2), dtype=np.int64), (np.zeros((3, 2), dtype=np.int64),) * 2)
    assert np.isnan(nobody.shrunk).all()
    again = single_prompts(counts, (counts, counts))
    np.testing.assert_array_equal(again.high, found.high)  # the same faces, the same numbers
