"""Variety within a group: by hand, against loops over pairs, at equal n, and how often it finds what is not there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fairbench.stats import variety


def units(rng: np.random.Generator, n: int, spread: float = 1.0) -> np.ndarray:
    """Draw embeddings about a direction; the larger the spread, the more varied."""
    return variety.unit(np.array([2.0, 0, 0, 0, 0]) + spread * rng.normal(size=(n, 5)))


def test_mean_distance_is_the_mean_over_pairs() -> None:
    rows = units(np.random.default_rng(0), 7)
    pairs = [1 - float(rows[i] @ rows[j]) for i, j in itertools.combinations(range(7), 2)]
    assert variety.mean_distance(rows) == pytest.approx(np.mean(pairs))
    assert np.isnan(variety.mean_distance(rows[:1])) and variety.mean_distance(rows[[0, 0, 0]]) == pytest.approx(0)


def test_vendi_by_hand() -> None:
    basis = np.eye(5)
    assert variety.vendi(basis) == pytest.approx(5)  # five that have nothing in common
    assert variety.vendi(basis[[2, 2, 2, 2]]) == pytest.approx(1)
    # Two of one kind and one of another: eigenvalues 2/3 and 1/3.
    entropy = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert variety.vendi(basis[[0, 0, 1]]) == pytest.approx(np.exp(entropy))
    cosine = 0.6  # eigenvalues (1 + c) / 2 and (1 - c) / 2
    pair = np.array([[1.0, 0.0], [cosine, np.sqrt(1 - cosine**2)]])
    assert variety.vendi(pair) == pytest.approx(np.exp(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2))))
    # The definition through the scatter matrix, whose non-zero eigenvalues are the same.
    rows = units(np.random.default_rng(1), 12)
    values = np.linalg.eigvalsh(rows.T @ rows / 12)
    assert variety.vendi(rows) == pytest.approx(np.exp(-(values * np.log(values)).sum()))


def test_vendi_at_an_equal_number_does_not_grow_with_the_images() -> None:
    rng = np.random.default_rng(2)
    few, many = units(rng, 8), units(rng, 400)
    assert variety.vendi(many) > variety.vendi(few) + 0.3
    means = [np.mean([variety.vendi_at(units(rng, n), 8, 0) for _ in range(400)]) for n in (8, 40)]
    assert means[0] == pytest.approx(means[1], abs=0.1)
    assert variety.vendi_at(many, 8, 3) == variety.vendi_at(many, 8, 3) != variety.vendi_at(many, 8, 4)


def layout(rng: np.random.Generator, prompts: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    prompt = np.repeat(np.arange(prompts), images)
    share = rng.uniform(0.2, 0.8, prompts)
    return prompt, (rng.random(prompt.size) < share[prompt]).astype(np.int64)


def test_a_class_is_compared_with_each_other_class_within_prompts() -> None:
    """By loops over prompts and classes; an image of no class counts nowhere."""
    rng = np.random.default_rng(3)
    prompt, code = np.repeat(np.arange(9), 20), rng.integers(0, 3, 180)
    code[::11], code[prompt == 8] = -1, 2  # the last prompt shows one class alone
    rows = units(rng, 180)
    for found, measure, fewest in (
        (variety.distances(rows, prompt, code, 3), variety.mean_distance, 2),
        (variety.vendis(rows, prompt, code, 3), None, None),
    ):
        size = found[0].size
        for own, each in enumerate(found):
            assert each.size == size and (size is None) == (fewest == 2)
            values, others, weights = [], [], []
            for p in range(9):
                cells = [rows[(prompt == p) & (code == c)] for c in range(3)]
                enough = [len(cell) >= (fewest or size) for cell in cells]
                rest = [c for c in range(3) if c != own and enough[c]]
                if not enough[own] or not rest:
                    continue
                of = [
                    measure(cell) if measure else (variety.vendi_at(cell, size, 3 * p + c) if enough[c] else np.nan)
                    for c, cell in enumerate(cells)
                ]
                values.append(of[own])
                others.append(np.mean([of[c] for c in rest]))
                n1, n0 = len(cells[own]), sum(len(cells[c]) for c in rest)
                weights.append(n1 * n0 / (n1 + n0))
            w = np.array(weights) / np.sum(weights)
            assert each.contrast.prompts == len(w) <= 8 and len(w) >= 6
            assert (each.value, each.others) == (pytest.approx(w @ values), pytest.approx(w @ others))
            difference = np.array(values) - np.array(others)
            assert each.contrast.estimate == pytest.approx(w @ difference)
            spread = (w**2 * (difference - w @ difference) ** 2 / (1 - w)).sum()
            assert each.contrast.error == pytest.approx(np.sqrt(spread))
            assert each.contrast.df == pytest.approx(1 / (w**2).sum() - 1)


def test_equal_pictures_are_found_equal_and_copies_are_found() -> None:
    rng = np.random.default_rng(4)
    prompt, code = layout(rng, 10, 30)
    rows = units(rng, 300)
    for found in (variety.distances(rows, prompt, code, 2), variety.vendis(rows, prompt, code, 2)):
        assert all(each.contrast.p > 0.01 for each in found)
        assert found[0].contrast.estimate == pytest.approx(-found[1].contrast.estimate)
    alike = np.where(code[:, None] == 0, units(rng, 300, 0.3), rows)
    for found in (variety.distances(alike, prompt, code, 2), variety.vendis(alike, prompt, code, 2)):
        _, high = found[0].contrast.interval()
        assert found[0].contrast.p < 1e-4 and high < 0 and found[0].value < found[0].others


def test_no_interval_is_invented() -> None:
    rng = np.random.default_rng(5)
    prompt, code = layout(rng, 2, 30)
    two = variety.distances(units(rng, 60), prompt, code, 2)[0]
    assert np.isfinite(two.contrast.estimate) and np.isnan([two.contrast.error, two.contrast.p]).all()
    none = variety.vendis(units(rng, 6), np.arange(6), np.zeros(6, dtype=int), 2)[0]
    assert none.size == variety.SIZES[-1]
    assert none.size == variety.SIZES[-1]
    assert np.isnan([none.value, none.contrast.estimate]).all() and none.contrast.prompts == 0
    empty = variety.distances(np.zeros((0, 5)), np.zeros(0, dtype=int), np.zeros(0, dtype=int), 2)
    assert np.isnan(empty[0].value)


@pytest.mark.long
@pytest.mark.parametrize("prompts", [4, 8, 32])
def test_equal_variety_differs_at_most_at_the_level(prompts: int) -> None:
    """Prompts differ in variety and in shares; a class has as much of it as the other."""
    rng = np.random.default_rng(6)
    false: dict[str, list[bool]] = {"distance": [], "vendi": []}
    for _ in range(1200):
        prompt, code = layout(rng, prompts, 24)
        spread = rng.uniform(0.3, 1.5, prompts)[prompt, None]
        rows = variety.unit(np.array([2.0, 0, 0, 0, 0]) + spread * rng.normal(size=(prompt.size, 5)))
        for name, found in (
            ("distance", variety.distances(rows, prompt, code, 2)[0]),
            ("vendi", variety.vendis(rows, prompt, code, 2)[0]),
        ):
            if found.contrast.error > 0:
                false[name].append(found.contrast.p <= 0.05)
    for name, values in false.items():
        assert len(values) > 150 and np.mean(values) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(values)), name
