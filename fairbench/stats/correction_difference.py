"""Two runs corrected by one calibration, or each by its own: the difference of their concentration, and its error.

An error of one table moves both runs' corrected values the same way, so most of it cancels in the difference: taking
the runs' intervals to be independent would make the difference far less certain than it is. Every replicate draws one
table and corrects all prompts of both runs with it; of two calibrations it draws one table each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.stats.correction_concentration import Sample, concentration_of, sample_of, sampling_variance, usable
from fairbench.stats.correction_interval import calibration_draws
from fairbench.stats.paired import Pairs, pair
from fairbench.stats.units import Data
from fairbench.types import FloatArray

DRAWS: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedDifference:
    """Corrected values (P,) of both runs, NaN where left out, and what makes their mean difference uncertain.

    images: the standard error from drawing images, for an exact table. shared: the standard deviation that the
    calibration's counts give the mean difference; more images per prompt do not lower it.
    """

    a: FloatArray
    b: FloatArray
    images: float
    shared: float

    @property
    def pairs(self) -> Pairs:
        """The differences B - A of the prompts that both runs measured."""
        return pair(self.a, self.b)


def concentration_difference(
    observed_a: Data,
    observed_b: Data,
    calibration: ArrayLike,
    rng: np.random.Generator,
    groups: Sequence[int] | None = None,
    draws: int = DRAWS,
    calibration_b: ArrayLike | None = None,
) -> CorrectedDifference:
    """Return the corrected `concentration` of two runs over the same P prompts, and the error of their mean difference.

    observed_a, observed_b (P, K + 1) or Units, calibration (K or K + 1, K + 1), groups: as in
    `corrected_concentration`. calibration_b: run B's own, counted on other images; None: both share one. A prompt that
    either run cannot correct (`usable`) is left out. Errors are NaN where no prompt is left. Raises ValueError and
    LinAlgError as `corrected_concentration` does.
    """
    own = calibration if calibration_b is None else calibration_b
    sides = [sample_of(observed_a, calibration, groups), sample_of(observed_b, own, groups)]
    enough = usable(sides[0]) & usable(sides[1])
    if not enough.any():
        nothing = np.full(enough.shape, np.nan)
        return CorrectedDifference(nothing, nothing, np.nan, np.nan)
    # As for one run: where concentration is estimated too low, so is its variance; it never falls below its bound.
    variances = [[part[enough].sum() for part in sampling_variance(side)] for side in sides]
    images = float(np.sqrt(max(variances[0]) + max(variances[1])) / enough.sum())
    a, b = (replace(side, times=side.times[enough]) for side in sides)

    def mean(side: Sample, table: FloatArray) -> FloatArray:
        return np.asarray(concentration_of(replace(side, table=table)).mean(axis=-1))

    drawn = calibration_draws(calibration, rng, draws)
    if calibration_b is None:
        differences = [mean(b, tables) - mean(a, tables) for tables in drawn]
    else:
        drawn_b = calibration_draws(calibration_b, rng, draws)
        differences = [mean(b, tables_b) - mean(a, tables) for tables, tables_b in zip(drawn, drawn_b, strict=True)]
    shared = float(np.concatenate(differences).std(ddof=1))
    value_a, value_b = (np.where(enough, concentration_of(side), np.nan) for side in sides)
    return CorrectedDifference(value_a, value_b, images, shared)
