"""How often two equal models are shown to be equal, in either way that a comparison claims it."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from fairbench.stats.distance import pair_of
from fairbench.stats.equivalence import shown_equally_concentrated
from fairbench.types import FloatArray

_PAIRS: Final = 1_000
"""Simulated comparisons: a power is then right to .03, twice its standard error."""


class EquivalencePower(NamedTuple):
    """The probability of each claim over this list."""

    concentrated: float
    groups: float


class Claims(NamedTuple):
    """concentrated, groups: the claims' margins, in (0, 1). alpha: the level of each test."""

    concentrated: float
    groups: float
    alpha: float


def equivalence_power(
    shares: FloatArray, claims: Claims, prompts: int, images: int, face_rate: float = 1.0
) -> EquivalencePower:
    """Return how often two runs of one model are shown to be equally concentrated, and to draw the same groups.

    shares: (S, K), of S kinds of prompts as the classifier reads them, equally frequent. images: per prompt and
    run, each with one face with probability face_rate. The tests are those of a comparison, simulated.
    """
    rng = np.random.default_rng(0)
    of_prompts = shares[np.arange(prompts) * len(shares) // prompts]
    shown = np.zeros((_PAIRS, 2), dtype=bool)
    for row in shown:
        faces = rng.binomial(images, face_rate, (2, prompts))
        pair = pair_of(*rng.multinomial(faces, of_prompts))
        if pair.prompts:
            row[0] = shown_equally_concentrated(*pair.concentrations(), claims.concentrated, claims.alpha)
            row[1] = pair.same_groups_p(claims.groups) <= claims.alpha
    return EquivalencePower(*shown.mean(axis=0).tolist())
