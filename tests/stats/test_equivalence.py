"""Equally concentrated: the size at the margin, down to balance, and against a fine search for the worst truth."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats.distance import pair_of
from fairbench.stats.equivalence import equally_concentrated_p, largest_excess, shown_equally_concentrated
from fairbench.stats.mean_square import MeanSquare as Mean
from tests.builders.proofs import mostly_long


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shares_at(t: float, classes: int, prompts: int) -> np.ndarray:
    """A balanced model of which a share t of the images shows one group."""
    return np.tile((1 - t) / classes + t * np.eye(classes)[0], (prompts, 1))


@pytest.mark.parametrize("root", mostly_long([0.0, 0.02, 0.1, 0.5]))
@pytest.mark.parametrize(("error_a", "error_b"), mostly_long([(0.004, 0.001), (0.00125, 0.00125), (0.001, 0.01)]))
def test_normal_estimates_a_margin_apart_are_called_equal_at_the_level(
    root: float, error_a: float, error_b: float
) -> None:
    """The delta method and limits that are transformed one by one reach .24 at root 0."""
    random, margin, times = rng(1), 0.05, 600
    a = random.normal(root**2, error_a, times)
    b = random.normal((root + margin) ** 2, error_b, times)
    means = [(Mean(x, error_a), Mean(y, error_b)) for x, y in zip(a, b, strict=True)]
    wrong = np.mean([shown_equally_concentrated(*pair, margin, 0.05) for pair in means])
    assert wrong <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / times)


def test_far_from_balance_it_is_two_one_sided_tests_of_the_difference_of_roots() -> None:
    a, b = Mean(0.49, 0.01), Mean(0.49, 0.01)
    error = np.hypot(0.01, 0.01) / (2 * 0.7)  # delta method
    from scipy.stats import norm

    for margin in (0.02, 0.05):
        assert equally_concentrated_p(a, b, margin) == pytest.approx(norm.sf(margin / error), rel=0.25)
    assert largest_excess(a, b, 0.05) == pytest.approx(1.645 * error, rel=0.05)


def test_p_and_limit_agree_and_order_does_not_matter() -> None:
    random = rng(2)
    for _ in range(20):
        a, b = (Mean(float(random.uniform(-0.002, 0.3)), float(random.uniform(0.0005, 0.01))) for _ in range(2))
        p = equally_concentrated_p(a, b, 0.1)
        assert p == equally_concentrated_p(b, a, 0.1)
        largest = max(largest_excess(a, b, 0.05), largest_excess(b, a, 0.05))
        assert (p <= 0.05) == (largest <= 0.1) == shown_equally_concentrated(a, b, 0.1, 0.05)
    for margin in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            equally_concentrated_p(a, b, margin)


@pytest.mark.parametrize(
    ("classes", "margin", "prompts", "faces"), mostly_long([(4, 0.1, 3, 160), (2, 0.05, 8, 160), (2, 0.1, 20, 16)])
)
@pytest.mark.parametrize("root", [0.0, 0.4])
def test_models_a_margin_apart_are_called_equal_at_the_level(
    classes: int, margin: float, prompts: int, faces: int, root: float
) -> None:
    random, times = rng(3), 300
    shares = shares_at(root, classes, prompts), shares_at(root + margin, classes, prompts)
    wrong = 0
    for _ in range(times):
        means = pair_of(*(random.multinomial(faces, p) for p in shares)).concentrations()
        wrong += shown_equally_concentrated(*means, margin, 0.05)
    assert wrong / times <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / times)


def test_identical_balanced_models_of_fifty_prompts_pass_within_a_tenth() -> None:
    random = rng(4)
    for classes in (2, 4, 8):
        shares = np.full((50, classes), 1 / classes)
        means = pair_of(random.multinomial(160, shares), random.multinomial(160, shares)).concentrations()
        assert equally_concentrated_p(*means, 0.1) <= 0.001


def test_a_model_of_one_class_alone_and_one_a_margin_away_are_not_called_equal_too_often() -> None:
    """Few faces of the other class are near one class, and seem certain: without allowing for that, .07."""
    random, times, wrong = rng(0), 1_500, 0
    shares = shares_at(1.0, 2, 20), shares_at(0.9, 2, 20)
    for _ in range(times):
        means = pair_of(*(random.multinomial(50, p) for p in shares)).concentrations()
        wrong += shown_equally_concentrated(*means, 0.1, 0.05)
    assert 0.01 < wrong / times <= 0.05
    same = pair_of(*(random.multinomial(50, shares[0]) for _ in "ab")).concentrations()
    assert shown_equally_concentrated(*same, 0.1, 0.001)
