"""The planned power of equivalence against p-values of simulated comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairbench.stats.distance import pair_of
from fairbench.stats.equivalence import equally_concentrated_p
from fairbench.stats.equivalence_power import Claims, equivalence_power
from fairbench.stats.power import shares_at
from fairbench.types import FloatArray

HOLM = 0.05 / 3
CASES: dict[str, tuple[FloatArray, Claims, int, int]] = {
    "balanced": (np.full((1, 2), 0.5), Claims(0.1, 0.05, HOLM), 20, 160),
    "balanced, eight classes": (np.full((1, 8), 1 / 8), Claims(0.1, 0.1, HOLM), 20, 80),
    "leaning": (shares_at(0.3, 4)[None], Claims(0.05, 0.1, HOLM), 20, 80),
    "one-sided": (shares_at(1.0, 2)[None], Claims(0.02, 0.02, HOLM), 5, 20),
    "a pilot of three kinds": (np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]]), Claims(0.05, 0.08, HOLM), 12, 60),
}


def simulated(case: str, face_rate: float, times: int) -> FloatArray:
    """Return how often the p-values of either claim are small, prompt kinds in turn."""
    shares, claims, prompts, images = CASES[case]
    random, shown = np.random.default_rng(7), np.zeros(2)
    kinds = np.arange(prompts) % len(shares)
    for _ in range(times):
        pair = pair_of(*(random.multinomial(random.binomial(images, face_rate, prompts), shares[kinds]) for _ in "ab"))
        shown[0] += equally_concentrated_p(*pair.concentrations(), claims.concentrated) <= claims.alpha
        shown[1] += pair.same_groups_p(claims.groups) <= claims.alpha
    return shown / times


def differences(case: str, face_rate: float, times: int) -> tuple[FloatArray, float]:
    shares, claims, prompts, images = CASES[case]
    planned = np.array(equivalence_power(shares, claims, prompts, images, face_rate))
    return np.abs(planned - simulated(case, face_rate, times)), 3 * math.sqrt(0.25 / times)


@pytest.mark.parametrize(("case", "face_rate"), [("balanced", 0.9), ("a pilot of three kinds", 1.0)])
def test_power_is_what_p_values_of_simulated_comparisons_give(case: str, face_rate: float) -> None:
    off, error = differences(case, face_rate, 80)
    assert (off < 0.03 + error).all()


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("face_rate", [1.0, 0.7])
def test_power_is_within_three_points_of_simulation(case: str, face_rate: float) -> None:
    off, error = differences(case, face_rate, 2_000)
    assert (off < 0.03 + error / 1.5).all()


def test_more_images_and_wider_margins_help() -> None:
    shares = np.full((1, 4), 0.25)
    few, many = (equivalence_power(shares, Claims(0.1, 0.08, HOLM), 10, n) for n in (40, 160))
    assert few.concentrated < many.concentrated and few.groups < many.groups
    assert equivalence_power(shares, Claims(0.2, 0.2, HOLM), 10, 40) > few
