"""Two runs corrected by one calibration: the difference of their concentration; both share its error.

An error of the table moves both runs' corrected values the same way, so most of it cancels in the difference: taking
the runs' intervals for independent would make the difference far less certain than it is. Every replicate draws one
table and corrects all prompts of both runs with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.stats.correction_concentration import Sample, concentration_of, sample_of, sampling_variance, usable
from fairbench.stats.correction_interval import calibration_draws
from fairbench.stats.intervals import Scope
from fairbench.stats.paired import Effect, Pairs, effect_fixed, effect_random, pair
from fairbench.stats.units import Data
from fairbench.types import FloatArray

DRAWS: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedDifference:
    """Corrected values (P,) of both runs, NaN where left out, and what their mean difference is uncertain by.

    images: the standard error from drawing images, for an exact table. shared: the standard deviation that the
    calibration's counts give the mean difference; more images a prompt do not lower it.
    """

    a: FloatArray
    b: FloatArray
    images: float
    shared: float

    @property
    def pairs(self) -> Pairs:
        """The differences B - A of the prompts that both runs measured."""
        return pair(self.a, self.b)

    def effect(self, scope: Scope) -> Effect:
        """Return the mean difference; error^2 = (the images' or the prompts' part)^2 + shared^2."""
        found = effect_fixed(self.pairs, self.images) if scope == "these prompts" else effect_random(self.pairs)
        return replace(found, se=float(np.hypot(found.se, self.shared)))


def concentration_difference(
    observed_a: Data,
    observed_b: Data,
    calibration: ArrayLike,
    rng: np.random.Generator,
    groups: Sequence[int] | None = None,
    draws: int = DRAWS,
) -> CorrectedDifference:
    """Return the corrected `concentration` of two runs over the same P prompts, and the error of their mean difference.

    observed_a, observed_b (P, K + 1) or Units, calibration (K or K + 1, K + 1), groups: as in
    `corrected_concentration`. A prompt that either run cannot correct (`usable`) is left out. Errors are NaN where no
    prompt is left. Raises ValueError and LinAlgError as `corrected_concentration` does.
    """
    sides = [sample_of(observed, calibration, groups) for observed in (observed_a, observed_b)]
    variances = [sampling_variance(side) for side in sides]
    kept = usable(sides[0]) & usable(sides[1])
    if not kept.any():
        return CorrectedDifference(np.full(kept.shape, np.nan), np.full(kept.shape, np.nan), np.nan, np.nan)
    # As for one run: where concentration is estimated too low, so is its variance; it never falls below its bound.
    own = sum(max(unbiased[kept].sum(), least[kept].sum()) for unbiased, least in variances)
    a, b = (replace(side, times=side.times[kept]) for side in sides)

    def difference(table: FloatArray) -> FloatArray:
        def mean(side: Sample) -> FloatArray:
            return np.asarray(concentration_of(replace(side, table=table)).mean(axis=-1))

        return np.asarray(mean(b) - mean(a))

    drawn = [difference(tables) for tables in calibration_draws(calibration, rng, draws)]
    shared = float(np.concatenate(drawn).std(ddof=1))
    first, second = (np.where(kept, concentration_of(side), np.nan) for side in sides)
    return CorrectedDifference(first, second, float(np.sqrt(own) / kept.sum()), shared)
