"""Inclusion probabilities of stratified samples, against the enumeration of all samples."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from fairbench.stats import designs


@pytest.mark.parametrize(
    ("sizes", "drawn"), [((5,), (2,)), ((4, 3), (2, 2)), ((5, 1, 3), (3, 1, 2)), ((6, 2), (1, 0)), ((2, 2), (2, 2))]
)
def test_inclusion_probabilities_are_those_of_all_samples(sizes: tuple[int, ...], drawn: tuple[int, ...]) -> None:
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    members = [np.flatnonzero(stratum == h) for h in range(len(sizes))]
    choices = [combinations(images, n) for images, n in zip(members, drawn, strict=True)]
    samples = [sum(chosen, ()) for chosen in product(*choices)]
    single, pair = designs.inclusion(sizes, drawn), designs.pair_inclusion(sizes, drawn)
    for i in range(len(stratum)):
        assert np.mean([i in sample for sample in samples]) == pytest.approx(single[stratum[i]])
        for j in range(i):
            both = np.mean([i in sample and j in sample for sample in samples])
            assert both == pytest.approx(pair[stratum[i], stratum[j]])


def test_no_pair_in_a_stratum_of_one() -> None:
    assert designs.pair_inclusion([1, 4], [1, 2])[0].tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("sizes", "n", "drawn"),
    [
        ((160,), 10, [10]),
        ((100, 60), 10, [6, 4]),
        ((150, 9, 1), 10, [7, 2, 1]),
        ((3, 2), 10, [3, 2]),
        ((40, 40, 40, 40), 10, [3, 3, 2, 2]),
    ],
)
def test_two_of_each_stratum_and_the_rest_in_proportion(sizes: tuple[int, ...], n: int, drawn: list[int]) -> None:
    assert designs.allocate(sizes, n).tolist() == drawn


def test_too_few_images_for_the_strata() -> None:
    with pytest.raises(ValueError, match="3 strata need 6 images, not 5"):
        designs.allocate([50, 50, 50], 5)
