"""The equivalence test: its intervals and decisions agree with scipy's exact binomial test, and it errs as declared."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from fairbench.phantom.equivalence import equivalence, interval

TRUTH = np.array([[0.5, 0.3, 0.2, 0.0], [0.97, 0.01, 0.01, 0.01]])


def proportional(n: int) -> np.ndarray:
    """Counts that match the truth as closely as they can."""
    return np.round(TRUTH * n).astype(np.int64)


@pytest.mark.parametrize(("x", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (7, 40), (388, 776), (1, 2000)])
@pytest.mark.parametrize("tail", [0.05, 0.00625])
def test_the_interval_is_clopper_and_pearsons(x: int, n: int, tail: float) -> None:
    low, high = interval(np.array([x]), np.array([n]), tail)
    oracle = binomtest(x, n).proportion_ci(1 - 2 * tail, method="exact")
    assert (low[0], high[0]) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def passes(x: int, n: int, p: float, margin: float, level: float) -> bool:
    """Two one-sided binomial tests; a bound beyond 0 or 1 holds by itself."""
    above = p - margin < 0 or binomtest(x, n, p - margin, alternative="greater").pvalue < level
    below = p + margin > 1 or binomtest(x, n, p + margin, alternative="less").pvalue < level
    return above and below


@pytest.mark.parametrize("n", [60, 200, 400, 700])
def test_decisions_are_those_of_two_one_sided_tests(n: int) -> None:
    rng = np.random.default_rng(n)
    truth = rng.dirichlet(np.full(4, 0.5), size=12)
    counts = rng.multinomial(n, rng.dirichlet(np.full(4, 0.5), size=12) * 0.1 + truth * 0.9)
    found = equivalence(counts, truth, margin=0.1, alpha=0.05)
    oracle = [
        all(passes(int(x), n, float(p), 0.1, 0.05 / 12) for x, p in zip(c, t, strict=True))
        for c, t in zip(counts, truth, strict=True)
    ]
    assert found.equivalent.tolist() == oracle
    assert found.overall is all(oracle)


def test_the_oracle_sees_both_decisions() -> None:
    """Else the test above would compare constants."""
    assert passes(350, 700, 0.5, 0.1, 0.004)
    assert not passes(30, 60, 0.5, 0.1, 0.004)


def test_too_few_images_never_pass_however_well_they_match() -> None:
    assert not equivalence(proportional(100), TRUTH).equivalent[0]
    assert equivalence(proportional(1000), TRUTH).overall
    none = equivalence(np.zeros_like(proportional(1)), TRUTH, margin=0.99)
    assert not none.equivalent.any()
    assert none.n.tolist() == [0, 0]


def test_a_shifted_truth_is_refused_and_the_other_prompt_is_not() -> None:
    shifted = TRUTH + np.array([[-0.12, 0.12, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = equivalence(proportional(20000), shifted)
    assert found.equivalent.tolist() == [False, True]
    assert not found.overall
    assert found.reach[0] == pytest.approx(0.12, abs=0.01)


def test_a_truth_that_is_off_by_the_margin_seldom_passes() -> None:
    """The claim of alpha: of runs whose every prompt is off by exactly the margin, at most 5 % have one that passes."""
    rng = np.random.default_rng(0)
    truth = np.tile([0.5, 0.5], (8, 1))
    firsts = rng.binomial(800, 0.6, size=(1500, 8))
    wrong = [equivalence(np.stack([x, 800 - x], axis=1), truth).equivalent.any() for x in firsts]
    assert 0 < np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


def test_fewer_prompts_are_corrected_less() -> None:
    """Bonferroni over prompts: alone, a prompt's interval is narrower."""
    both, alone = equivalence(proportional(500), TRUTH), equivalence(proportional(500)[:1], TRUTH[:1])
    assert alone.reach[0] < both.reach[0]


@pytest.mark.parametrize(
    ("counts", "truth", "margin", "alpha", "words"),
    [
        (np.ones((2, 3), int), TRUTH, 0.1, 0.05, "both be"),
        (np.zeros((0, 4), int), np.zeros((0, 4)), 0.1, 0.05, "both be"),
        (np.ones((2, 4), int), TRUTH * 2, 0.1, 0.05, "sum to 1"),
        (np.ones((2, 4), int), TRUTH, 0.0, 0.05, "margin"),
        (np.ones((2, 4), int), TRUTH, 0.1, 0.5, "alpha"),
    ],
)
def test_what_makes_no_sense_is_refused(
    counts: np.ndarray, truth: np.ndarray, margin: float, alpha: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        equivalence(counts, truth, margin=margin, alpha=alpha)
