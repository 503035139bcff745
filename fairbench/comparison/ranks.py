"""Three runs or more: ranks with their uncertainty, and a winner that is judged on prompts that did not choose it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairbench.comparison.effects import common_faces
from fairbench.comparison.sides import Side, of_prompts, primary_attributes
from fairbench.measure.counts import cross_name
from fairbench.stats import estimands, intervals
from fairbench.stats.paired import effect_random, pair, sign_flip_p
from fairbench.stats.ranking import Ranks, rank_intervals
from fairbench.stats.units import as_units
from fairbench.types import FloatArray

_SEED = 1979


@dataclass(frozen=True, slots=True)
class Half:
    """The winner's effect (winner minus baseline, mean concentration) on one half of the prompts; p: sign-flip test."""

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
    """Return the runs' ranks on every primary attribute; intervals hold for all runs of one attribute at once."""
    ranks_of = {}
    for names in primary_attributes(sides[0]):
        data = [side.data(names) for side in sides]
        n0, enough = common_faces(data)
        values = np.full((len(sides), len(n0)), np.nan)
        for i, data_of_run in enumerate(data):
            values[i, enough] = estimands.rd_at(as_units(of_prompts(data_of_run, enough)).counts, n0[enough])
        ranks_of[cross_name(names)] = rank_intervals(values, 1 - alpha)
    return ranks_of


def select(sides: Sequence[Side], alpha: float) -> Selection | None:
    """Return the best variant on one half of the prompts, judged on the other; None: too few prompts to halve."""
    names = primary_attributes(sides[0])[-1]
    values = np.stack([intervals.concentration_of_prompts(side.data(names)).value for side in sides])
    complete = np.flatnonzero(~np.isnan(values).any(axis=0))
    ids = [sides[0].run.prompts[i].neutral_id for i in sides[0].positions[complete]]
    # By hash, so that neither the order of a task nor whoever compares decides which prompts choose.
    order = complete[np.argsort([hashlib.sha256(b"select" + i).digest() for i in ids])] if ids else complete
    choosing, judging = np.array_split(order, 2)
    if len(judging) < 2:
        return None
    best = 1 + int(np.argmin(values[1:, choosing].mean(axis=1)))
    chosen, judged = (_half(values[0, half], values[best, half], alpha) for half in (choosing, judging))
    return Selection(cross_name(names), sides[best].letter, chosen, judged, values.shape[1] - len(complete))


def _half(baseline: FloatArray, winner: FloatArray, alpha: float) -> Half:
    pairs = pair(baseline, winner)
    effect = effect_random(pairs)
    p = sign_flip_p(pairs, np.random.default_rng(_SEED))
    return Half(effect.estimate, *effect.interval(1 - alpha), p, effect.n_pairs)
