"""Statements on single prompts of a list: shrunk values, tests adjusted for their number, and an honest choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.intervals import Interval, concentration_of_prompts, interval_of
from fairbench.stats.multiplicity import benjamini_hochberg
from fairbench.stats.shrinkage import balance_p, shrunk_concentration
from fairbench.stats.units import Data, Units
from fairbench.types import FloatArray

_SEED: Final = 1955


@dataclass(frozen=True, slots=True, eq=False)
class SinglePrompts:
    """Concentration of every prompt of a list (P,), and which prompts are the worst; NaN where there are too few faces.

    raw: unbiased. shrunk, low, high: see `shrinkage.shrunk_concentration`. q: of the test that a fair model shows such
    faces, adjusted over the prompts (Benjamini and Hochberg 1995): of all prompts whose q is at most .05, at most 5 %
    are false on average. chosen: the shrunk value on the half of the images that chooses. judged: the unbiased one on
    the other half. order: positions of the prompts, the worst by `chosen` first; prompts without a value last.
    """

    raw: Floats
    shrunk: Floats
    low: Floats
    high: Floats
    q: FloatArray
    chosen: Floats
    judged: Floats
    order: IntArray
    judging: Data

    def worst(self, count: int) -> Interval:
        """Return the mean of the `count` worst prompts on the half that did not choose them, for this list."""
        data, which = self.judging, self.order[:count]
        part = Units(data.kinds, data.times[which]) if isinstance(data, Units) else data[which]
        return interval_of(concentration_of_prompts(part), "this list", highest=1.0)


def single_prompts(data: Data, halves: tuple[Data, Data], fair: FloatArray | None = None) -> SinglePrompts:
    """Return what is known of every prompt by itself. halves: the images that choose the worst, and those that judge.

    A choice flatters what it chooses (here: makes it look worse), so the value of a prompt that was chosen is that on
    the other images. fair: the class shares (K,) as which a fair model is read; None: all equal.
    """
    rng = np.random.default_rng(_SEED)
    choosing, judging = halves
    classes = (data.kinds if isinstance(data, Units) else data).shape[1]
    equal = np.full(classes, 1 / classes)
    balanced = balance_p(data, equal, rng)
    p = balanced if fair is None or np.allclose(fair, equal) else balance_p(data, fair, rng)
    shrunk = shrunk_concentration(data, balanced, rng)
    chosen = shrunk_concentration(choosing, balanced, rng).value
    return SinglePrompts(
        raw=concentration_of_prompts(data).value,
        shrunk=shrunk.value,
        low=shrunk.low,
        high=shrunk.high,
        q=benjamini_hochberg(p),
        chosen=chosen,
        judged=concentration_of_prompts(judging).value,
        order=np.argsort(-np.nan_to_num(chosen, nan=-1.0), kind="stable"),
        judging=judging,
    )
