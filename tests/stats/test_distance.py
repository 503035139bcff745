"""The distance of two runs' shares: unbiased, with the right error, and a bound on the images of other groups."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats.distance import pair_of
from fairbench.stats.intervals import concentration_of_prompts
from tests.builders.proofs import mostly_long
from tests.stats.test_difference import crowds, leaning


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("classes", mostly_long([4, 2, 7]))
def test_the_squared_distance_is_unbiased_and_its_error_is_that_of_simulations(classes: int) -> None:
    random, times = rng(classes), 1500
    p, q = random.dirichlet(np.ones(classes), (2, 3))
    faces = np.array([12, 40, 25])
    found = [
        pair_of(random.multinomial(faces, p), random.multinomial(faces[::-1], q)).squared_distance()
        for _ in range(times)
    ]
    values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
    truth = ((p - q) ** 2).sum(axis=1).mean()
    assert values.mean() == pytest.approx(truth, abs=3.5 * values.std() / np.sqrt(times))
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.15)


def test_concentrations_are_those_of_the_prompts_with_the_error_of_simulations() -> None:
    random, times = rng(1), 800
    shares = np.full((30, 4), 0.25)
    a = random.multinomial(160, shares)
    one, two = pair_of(a, a).concentrations()
    assert one == two
    assert one.value == pytest.approx(concentration_of_prompts(a).value.mean())
    means = [pair_of(random.multinomial(160, shares), a).concentrations()[0] for _ in range(times)]
    spread = np.std([m.value for m in means])
    assert np.mean([m.error for m in means]) == pytest.approx(spread, rel=0.2), "not bounded prompt by prompt"


def test_several_faces_are_one_image() -> None:
    random = rng(2)
    shares = np.tile(leaning(4, 0.4), (6, 1))
    found = [
        pair_of(random.multinomial(40, shares), crowds(shares, 40, 0.9, random)).squared_distance() for _ in range(400)
    ]
    values = np.array([f.value for f in found])
    assert values.mean() == pytest.approx(0, abs=3.5 * values.std() / 20)
    assert np.mean(values > 1.645 * np.array([f.error for f in found])) <= 0.09


@pytest.mark.parametrize(("prompts", "faces"), mostly_long([(3, 160), (20, 16), (20, 160)]))
@pytest.mark.parametrize("base", [0.5, 0.0])
def test_models_at_the_margin_are_said_to_draw_the_same_groups_at_the_level(
    prompts: int, faces: int, base: float
) -> None:
    """Of two classes and one distance in all prompts the bound is exact; base 0: one model shows one class alone."""
    random, times, margin = rng(3), 300, 0.05
    p, q = (np.tile([base + d, 1 - base - d], (prompts, 1)) for d in (0, margin))
    wrong = np.mean(
        [
            pair_of(random.multinomial(faces, p), random.multinomial(faces, q)).same_groups_p(margin) <= 0.05
            for _ in range(times)
        ]
    )
    assert wrong <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / times)


def test_p_and_limit_agree_and_lie_above_the_true_distance() -> None:
    random = rng(4)
    p, q = random.dirichlet(np.ones(4), (2, 40))
    pair = pair_of(random.multinomial(2000, p), random.multinomial(2000, q))
    tv = np.abs(p - q).sum(axis=1).mean() / 2
    limit = pair.largest_tv(0.05)
    assert tv < limit < 1.4 * tv
    assert pair.same_groups_p(limit) == pytest.approx(0.05)
    assert pair.observed_tv().mean() == pytest.approx(tv, rel=0.02)


def test_opposite_models_are_equally_concentrated_and_far_apart() -> None:
    a = np.tile([160, 0], (10, 1))
    pair = pair_of(a, a[:, ::-1])
    one, two = pair.concentrations()
    assert one == two and pair.largest_tv(0.05) == 1.0 and pair.squared_distance().value == pytest.approx(2)
