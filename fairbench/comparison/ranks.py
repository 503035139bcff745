"""Three runs or more: ranks with their uncertainty, and a winner that is judged on prompts that did not choose it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairbench.comparison.sides import Side, of_prompts, primary_attributes
from fairbench.measure.counts import cross_name
from fairbench.stats import intervals
from fairbench.stats.difference import concentration_difference
from fairbench.stats.ranking import Ranks, rank_intervals
from fairbench.storage.ids import IntArray

FEWEST_PROMPTS: Final = 10
"""Prompts that choosing a winner on one half and judging it on the other takes."""


@dataclass(frozen=True, slots=True)
class Half:
    """The winner's effect (winner minus baseline, mean concentration) on one half of the prompts; p: of this list."""

    effect: float
    low: float
    high: float
    p: float
    n_prompts: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The variant with the lowest mean concentration on half of the prompts.

    chosen: its effect on that half, which flatters the winner, as luck helped it to win. judged: the same effect on the
    other half, which does not. n_left_out: prompts with too few faces.
    """

    attribute: str
    winner: str
    chosen: Half
    judged: Half
    n_left_out: int


def rankings(sides: Sequence[Side], alpha: float) -> dict[str, Ranks]:
    """Return the runs' ranks by concentration on every primary attribute; all intervals hold at once."""
    primary, quotas = primary_attributes(sides[0]), [i for i, side in enumerate(sides) if side.quota]
    return {
        cross_name(names): rank_intervals([side.data(names) for side in sides], alpha, len(primary), quotas)
        for names in primary
    }


def select(sides: Sequence[Side], alpha: float) -> Selection | None:
    """Return the best variant on one half of the prompts, judged on the other; None: too few prompts to halve."""
    names = primary_attributes(sides[0])[-1]
    values = np.stack([intervals.concentration_of_prompts(side.data(names)).value for side in sides])
    complete = np.flatnonzero(~np.isnan(values).any(axis=0))
    if len(complete) < FEWEST_PROMPTS:
        return None
    ids = [sides[0].run.prompts[i].neutral_id for i in sides[0].positions[complete]]
    # By hash, so that neither the order of a task nor whoever compares decides which prompts choose.
    order = complete[np.argsort([hashlib.sha256(b"select" + i).digest() for i in ids])]
    choosing, judging = np.array_split(order, 2)
    best = 1 + int(np.argmin(values[1:, choosing].mean(axis=1)))
    chosen, judged = (_half(sides[0], sides[best], names, half, alpha) for half in (choosing, judging))
    return Selection(cross_name(names), sides[best].letter, chosen, judged, values.shape[1] - len(complete))


def _half(baseline: Side, winner: Side, names: Sequence[str], half: IntArray, alpha: float) -> Half:
    """Return the effect on some of the prompts; without a test where a quota leaves no independent draws."""
    found = concentration_difference(*(of_prompts(side.data(names), half) for side in (baseline, winner))).effect
    if baseline.quota or winner.quota:
        return Half(found.estimate, math.nan, math.nan, math.nan, found.n_pairs)
    return Half(found.estimate, *found.interval(1 - alpha), found.p_value(), found.n_pairs)
