"""Assignment of classes to images: brute force over permutations, and binary targets in closed form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from fairbench.training import assignment
from fairbench.training.assignment import UNCERTAIN

GROUPS = np.array(list(itertools.product(range(2), range(3))))


def probabilities(images: int, sizes: tuple[int, ...], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.full(size, 0.4), size=images) for size in sizes]


def test_costs_are_distances_in_the_product_of_simplices() -> None:
    gender, race = probabilities(4, (2, 3), 0)
    cost = assignment.costs([gender, race], GROUPS)
    for image, (group, (g, r)) in itertools.product(range(4), enumerate(GROUPS)):
        corner = np.concatenate([np.arange(2) == g, np.arange(3) == r]).astype(float)
        assert cost[image, group] == pytest.approx(
            np.linalg.norm(np.concatenate([gender[image], race[image]]) - corner)
        )


@pytest.mark.parametrize("images", [1, 2, 5, 6])
def test_an_assignment_is_the_cheapest_of_all_permutations(images: int) -> None:
    rng = np.random.default_rng(images)
    for trial in range(10):
        cost = assignment.costs(probabilities(images, (2, 3), 10 * images + trial), GROUPS)
        groups = rng.integers(6, size=images)
        found = assignment.assigned(cost, groups)
        assert sorted(found) == sorted(groups)
        cheapest = min(sum(cost[range(images), order]) for order in itertools.permutations(groups))
        assert cost[range(images), found].sum() == pytest.approx(cheapest)


def test_the_expected_assignment_is_the_mean_of_all_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five images, an uneven target: every one of the 2^5 targets by brute force, weighed by its probability."""
    monkeypatch.setattr(assignment, "DRAWS", 4000)
    shares, labels = np.array([0.3, 0.7]), np.array([[0], [1]])
    cost = assignment.costs(probabilities(5, (2,), 7), labels)
    exact = np.zeros((5, 2))
    for target in itertools.product(range(2), repeat=5):
        orders = set(itertools.permutations(target))
        best = min(orders, key=lambda order: cost[range(5), order].sum())
        exact[range(5), best] += shares[list(target)].prod()
    found = assignment.expected(cost, shares, np.random.default_rng(0))
    assert found.sum(axis=1) == pytest.approx(np.ones(5))
    assert np.abs(found - exact).max() < 4 * np.sqrt(0.25 / 4000)


def test_a_binary_target_is_the_papers_binomial_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image of rank r from below among N gets class 1 as often as a binomial number of ones reaches N - r."""
    monkeypatch.setattr(assignment, "DRAWS", 4000)
    second = np.array([0.9, 0.2, 0.55, 0.7, 0.05, 0.4])
    cost = assignment.costs([np.stack([1 - second, second], axis=1)], np.array([[0], [1]]))
    found = assignment.expected(cost, np.array([0.4, 0.6]), np.random.default_rng(1))[:, 1]
    rank = second.argsort().argsort()
    assert np.abs(found - stats.binom.sf(5 - rank, 6, 0.6)).max() < 0.035


def test_uncertain_images_are_left_alone_attribute_by_attribute() -> None:
    expected = np.zeros((4, 6))
    expected[0, 4] = 1.0  # second gender, second race
    expected[1, [0, 1]] = 0.5  # first gender for certain, race undecided
    expected[2, [2, 5]] = 0.2, 0.8  # exactly at the threshold
    expected[3] = [0.29, 0.25, 0.25, 0.21, 0.0, 0.0]  # just beyond it in gender, far in race
    targets = assignment.targets(expected, GROUPS, 0.2)
    assert targets.tolist() == [[1, 1], [0, UNCERTAIN], [1, 2], [UNCERTAIN, UNCERTAIN]]
    assert assignment.targets(expected, GROUPS, 0.5).tolist() == [[1, 1], [0, 0], [1, 2], [0, 0]]


def test_an_assignment_depends_on_its_seed_alone() -> None:
    cost = assignment.costs(probabilities(8, (2, 3), 3), GROUPS)
    shares = np.full(6, 1 / 6)
    first, again, other = (assignment.expected(cost, shares, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
