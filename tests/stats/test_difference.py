"""The difference in concentration over this list: nominal where images are few, unequal, or show several faces."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats.difference import concentration_difference
from fairbench.stats.intervals import concentration_of_prompts
from fairbench.stats.paired import effect, independent_se
from fairbench.stats.units import Data, Units, units_of_images
from tests.builders.proofs import mostly_long

REPLICATES = 400


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def leaning(classes: int, share: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([share] + [(1 - share) / (classes - 1)] * (classes - 1))


def crowds(shares: np.ndarray, images: int, rho: float, random: np.random.Generator) -> Units:
    """Images (of the P prompts of `shares`) with four faces, which are all of one class with probability rho."""
    prompts, classes = shares.shape
    prompt = np.repeat(np.arange(prompts), images)
    label = (random.random((len(prompt), 4))[:, :, None] > shares.cumsum(axis=1)[prompt][:, None]).sum(axis=2)
    label = np.minimum(np.where(random.random((len(prompt), 1)) < rho, label[:, :1], label), classes - 1)
    return units_of_images(prompt, (label[:, :, None] == np.arange(classes)).sum(axis=1), prompts)


def rejected(pairs: list[tuple[Data, Data]]) -> float:
    return float(np.mean([concentration_difference(a, b).effect.p_value() <= 0.05 for a, b in pairs]))


BAR = 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / REPLICATES)


@pytest.mark.parametrize(
    ("classes", "prompts", "faces"), mostly_long([(4, 3, (160, 8)), (8, 3, (160, 8)), (2, 5, (16, 16))])
)
def test_equal_models_differ_as_often_as_the_level_says(classes: int, prompts: int, faces: tuple[int, int]) -> None:
    random = rng(classes)
    for share in (0.6, 1 / classes, 0.97):
        shares = np.tile(leaning(classes, share), (prompts, 1))
        drawn = [tuple(random.multinomial(n, shares) for n in faces) for _ in range(REPLICATES)]
        assert rejected(drawn) <= BAR, share  # type: ignore[arg-type]


def test_the_plain_error_would_be_too_small_where_one_run_has_few_images() -> None:
    random, shares = rng(1), np.tile(leaning(4, 0.6), (3, 1))
    plain = 0
    for _ in range(REPLICATES):
        a, b = random.multinomial(160, shares), random.multinomial(8, shares)
        found = concentration_difference(a, b)
        assert found.effect.se >= independent_se(found.pairs, found.a.variance, found.b.variance) - 1e-12
        plain += effect(found.pairs, independent_se(found.pairs, found.a.variance, found.b.variance)).p_value() <= 0.05
    assert plain / REPLICATES > 0.08


@pytest.mark.parametrize("rho", mostly_long([0.9, 0.3]))
def test_one_face_against_four_alike_is_no_difference(rho: float) -> None:
    """Rarefied RD calls such pairs of fair models different in .72 (.3) to 1.00 (.9)."""
    random, shares = rng(2), np.full((8, 4), 0.25)
    drawn = [(random.multinomial(40, shares), crowds(shares, 40, rho, random)) for _ in range(REPLICATES // 2)]
    assert rejected(drawn) <= BAR  # type: ignore[arg-type]


def test_a_large_run_keeps_the_plain_error_and_order_is_a_sign() -> None:
    random = rng(3)
    shares = random.dirichlet(np.ones(4), 20)
    a, b = random.multinomial(160, shares), random.multinomial(160, shares[::-1])
    there, back = concentration_difference(a, b), concentration_difference(b, a)
    values = [concentration_of_prompts(counts) for counts in (a, b)]
    plain = independent_se(there.pairs, values[0].variance, values[1].variance)
    assert there.effect.se == pytest.approx(plain, rel=0.1)
    assert back.effect.interval() == pytest.approx(tuple(-x for x in there.effect.interval()[::-1]))
    assert back.effect.p_value() == pytest.approx(there.effect.p_value())
    low, high = there.effect.interval(1 - there.effect.p_value())
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9), "tests and limits agree"
    nothing = concentration_difference(np.ones((3, 2), dtype=int), a[:3, :2])
    assert np.isnan(nothing.effect.se) and np.isnan(nothing.effect.p_value())
