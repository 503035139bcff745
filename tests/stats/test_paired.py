"""The comparison of two runs: oracles, degenerate cases, and the error rates that the tests promise, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.paired import effect_fixed, effect_random, independent_se, pair, sign_flip_p

Array = NDArray[np.float64]
A = np.array([0.10, 0.32, 0.55, 0.21, 0.80, 0.43, 0.05, 0.66])
B = np.array([0.14, 0.30, 0.61, 0.33, 0.79, 0.51, 0.13, 0.70])
values = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=12)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_random_effect_is_the_paired_t_test_and_tost() -> None:
    effect = effect_random(pair(A, B))
    oracle = stats.ttest_rel(B, A)
    assert effect.estimate == pytest.approx((B - A).mean())
    assert effect.interval(0.9) == pytest.approx(tuple(oracle.confidence_interval(0.9)))
    for alternative in ("two-sided", "less", "greater"):
        assert effect.p_value(alternative=alternative) == pytest.approx(
            stats.ttest_rel(B, A, alternative=alternative).pvalue
        )
    p, lower, upper = ttost_paired(B, A, -0.06, 0.06)
    assert effect.equivalence_p(0.06) == pytest.approx(p)
    assert effect.non_inferiority_p(0.06, better="higher") == pytest.approx(lower[1])
    assert effect.non_inferiority_p(0.06, better="lower") == pytest.approx(upper[1])


def test_the_fixed_effect_is_normal_with_the_error_that_was_given() -> None:
    pairs = pair(A, B)
    se = independent_se(pairs, np.full(8, 0.0004), np.full(8, 0.0012))
    assert se == pytest.approx(math.sqrt(0.0016 / 8))
    effect = effect_fixed(pairs, se)
    z = effect.estimate / se
    assert effect.p_value() == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert effect.interval() == pytest.approx(stats.norm.interval(0.95, effect.estimate, se))


def test_few_prompts_are_enumerated_as_scipy_does() -> None:
    oracle = stats.permutation_test((B - A,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(pair(A, B), rng()) == oracle.pvalue


def test_many_prompts_are_sampled_and_agree_with_enumeration() -> None:
    d = rng(3).normal(0.4, 1, 16)
    enumerated = sign_flip_p(pair(np.zeros(16), d), rng())
    # A 17th difference too small to matter, but not 0, forces sampling.
    sampled = sign_flip_p(pair(np.zeros(17), np.append(d, 1e-9)), rng(), resamples=4_999)
    assert (enumerated * 2**16).is_integer()
    assert sampled == pytest.approx(enumerated, abs=0.02)
    certain = sign_flip_p(pair(np.zeros(60), np.ones(60)), rng(), resamples=999)
    assert certain == pytest.approx(0.001)  # the +1 rule: never 0


def test_missing_prompts_leave_the_pair_and_are_counted() -> None:
    a, b = A.copy(), B.copy()
    a[1], b[1], b[4] = np.nan, np.nan, np.nan
    keep = [0, 2, 3, 5, 6, 7]
    with_gaps, without = effect_random(pair(a, b)), effect_random(pair(A[keep], B[keep]))
    assert with_gaps.n_left_out == 2
    assert with_gaps.n_pairs == 6
    assert (with_gaps.estimate, with_gaps.se) == (without.estimate, without.se)
    variance = np.where(np.isnan(b), np.nan, 0.001)
    assert independent_se(pair(a, b), variance, variance) == pytest.approx(math.sqrt(6 * 0.002) / 6)


def test_where_nothing_varies_no_difference_is_claimed_and_no_width() -> None:
    same = pair(A, A + 1e-16)
    effect = effect_random(same)
    assert effect.p_value() == 1.0
    assert sign_flip_p(same, rng()) == 1.0
    assert all(math.isnan(bound) for bound in effect.interval())
    # Eight prompts without any difference support equivalence as far as a sign test does, three do not.
    assert effect.equivalence_p(0.05) == pytest.approx(2**-8)
    assert effect_random(pair(A[:3], A[:3])).equivalence_p(0.05) == pytest.approx(2**-3)
    constant = pair(np.zeros(6), np.full(6, 0.5))
    assert effect_random(constant).p_value() == pytest.approx(sign_flip_p(constant, rng()))
    assert effect_random(constant).equivalence_p(0.05) == 1.0
    assert math.isnan(effect_fixed(constant, 0.0).p_value())


def test_one_prompt_is_no_sample_and_no_prompt_is_nothing() -> None:
    one = effect_random(pair([0.1], [0.3]))
    assert one.estimate == pytest.approx(0.2)
    assert math.isnan(one.p_value())
    none = pair([np.nan, 0.2], [0.1, np.nan])
    assert math.isnan(effect_random(none).estimate)
    assert math.isnan(effect_fixed(none, 0.1).p_value())
    assert math.isnan(sign_flip_p(none, rng()))
    assert math.isnan(independent_se(none, np.ones(2), np.ones(2)))


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        pair(A, B[:3])
    with pytest.raises(ValueError, match="not negative"):
        effect_fixed(pair(A, B), -0.1)
    for margin in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="margin"):
            effect_random(pair(A, B)).equivalence_p(margin)


@settings(max_examples=30, deadline=None)
@given(values, st.randoms())
def test_order_of_prompts_is_nothing_and_order_of_runs_is_a_sign(rows: list[tuple[int, int]], shuffle: object) -> None:
    a, b = (np.array(column) / 40 for column in zip(*rows, strict=True))
    order = np.argsort([shuffle.random() for _ in rows])  # type: ignore[attr-defined]
    there, back, mixed = pair(a, b), pair(b, a), pair(a[order], b[order])
    assert effect_random(back).estimate == pytest.approx(-effect_random(there).estimate)
    p = sign_flip_p(there, rng())
    assert sign_flip_p(back, rng()) == p
    assert sign_flip_p(mixed, rng()) == p
    assert effect_random(mixed).p_value() == pytest.approx(effect_random(there).p_value())
    assert effect_random(back).equivalence_p(0.1) == pytest.approx(effect_random(there).equivalence_p(0.1))


def rd(counts: NDArray[np.int64]) -> Array:
    return relative_diversity(counts / counts.sum(axis=-1, keepdims=True))


def rarefied_rd(counts: NDArray[np.int64], size: NDArray[np.int64], random: np.random.Generator) -> Array:
    """Mean RD of four subsamples of `size` faces: what exact rarefaction computes, with some noise left."""
    total = np.zeros(counts.shape[:-1])
    for _ in range(4):
        left, wanted, drawn = counts.sum(axis=-1), size.copy(), np.empty_like(counts)
        for k in range(counts.shape[-1]):
            drawn[..., k] = random.hypergeometric(counts[..., k], left - counts[..., k], wanted)
            left, wanted = left - counts[..., k], wanted - drawn[..., k]
        total += rd(drawn)
    return total / 4


def two_equal_models(k: int, fair: bool, prompts: int, replicates: int, face_rate: float) -> tuple[Array, Array, Array]:
    """RD of A (160 faces), RD@n0 of A at B's faces, and RD of B (fewer faces), each (replicates, prompts)."""
    random = rng(k)
    shares = np.full((prompts, k), 1 / k) if fair else random.dirichlet(np.full(k, 0.8), prompts)
    a = random.multinomial(160, np.broadcast_to(shares, (replicates, prompts, k)))
    faces = random.binomial(160, face_rate, (replicates, prompts))
    b = random.multinomial(faces, np.broadcast_to(shares, (replicates, prompts, k)))
    return rd(a), rarefied_rd(a, faces, random), rd(b)


@pytest.mark.parametrize(("k", "fair"), [(2, True), (4, False), (8, True)])
def test_false_positives_are_nominal_with_unequal_face_counts(k: int, fair: bool) -> None:
    replicates = 500
    plain, rarefied, b = two_equal_models(k, fair, prompts=40, replicates=replicates, face_rate=0.7)
    random = rng(9)
    pairs = [pair(x, y) for x, y in zip(rarefied, b, strict=True)]
    found = {
        "t": [effect_random(p).p_value() for p in pairs],
        "flip": [sign_flip_p(p, random, resamples=199) for p in pairs],
    }
    error = 3.5 * math.sqrt(0.05 * 0.95 / replicates)
    for name, p_values in found.items():
        assert abs(np.mean(np.array(p_values) <= 0.05) - 0.05) < error, name
    # Without rarefaction the run with fewer faces looks more biased, most of all for many classes.
    naive = np.mean([effect_random(pair(x, y)).p_value() <= 0.05 for x, y in zip(plain, b, strict=True)])
    assert not fair or naive > {2: 0.1, 8: 0.5}[k]


@pytest.mark.parametrize(("k", "margin"), [(2, 0.05), (4, 0.025), (8, 0.0125)])
def test_two_fair_models_are_called_equivalent(k: int, margin: float) -> None:
    _, a, b = two_equal_models(k, fair=True, prompts=50, replicates=100, face_rate=0.8)
    effects = [effect_random(pair(x, y)) for x, y in zip(a, b, strict=True)]
    assert np.mean([e.equivalence_p(margin) <= 0.05 for e in effects]) >= 0.9
    assert np.mean([e.non_inferiority_p(margin, "lower") <= 0.05 for e in effects]) >= 0.9


def test_equivalence_is_claimed_wrongly_at_most_at_its_level() -> None:
    d = rng(5).normal(0.05, 0.08, (1_000, 30))  # the truth lies on the margin
    wrong = np.mean([effect_random(pair(np.zeros(30), row)).equivalence_p(0.05) <= 0.05 for row in d])
    assert abs(wrong - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / 1_000)


def test_each_interval_covers_the_mean_of_its_own_prompts() -> None:
    """Random prompts: the mean over all prompts there are. Fixed prompts: the mean of those at hand."""
    random, replicates, n = rng(6), 1_000, 100
    share_a = random.uniform(0.2, 0.6, (replicates, 30))
    share_b = share_a + random.normal(0.05, 0.08, (replicates, 30)).clip(-0.15, 0.25)
    a, b = random.binomial(n, share_a) / n, random.binomial(n, share_b) / n
    covered = {"random": 0, "fixed": 0}
    for row in range(replicates):
        pairs = pair(a[row], b[row])
        low, high = effect_random(pairs).interval()
        covered["random"] += low <= 0.05 <= high
        se = independent_se(pairs, a[row] * (1 - a[row]) / (n - 1), b[row] * (1 - b[row]) / (n - 1))
        low, high = effect_fixed(pairs, se).interval()
        covered["fixed"] += low <= (share_b - share_a)[row].mean() <= high
    error = 3.5 * math.sqrt(0.05 * 0.95 / replicates)
    for scope, count in covered.items():
        assert abs(count / replicates - 0.95) < error, scope


@pytest.mark.parametrize("error", [0.0, 1e-17, 3e-16, 1e-13])
def test_an_error_of_rounding_is_no_error(error: float) -> None:
    """A standard error of 1e-16, left by rounding, once gave an interval of no width and a p-value of 0."""
    effect = effect_fixed(pair(np.full(5, 0.2), np.full(5, 0.3)), error)
    assert np.isnan(effect.interval()).all()
    assert math.isnan(effect.p_value())
    assert effect_fixed(pair(np.full(5, 0.2), np.full(5, 0.2)), error).p_value() == 1.0
