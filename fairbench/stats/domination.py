"""Is one arm of a sweep shown to be dominated by another? Student's t over independent trainings, one per seed.

A dominates B where A is not inferior to B on any axis, within that axis's margin, and better on at least one. The first
part is an intersection-union test: every axis has to be shown at level alpha, so that no adjustment is needed (Berger
1982). The second is a union of tests over axes and ordered pairs of arms, adjusted by Holm.

The unit is a training: drawing more images of one training says nothing of the next one. Arms are paired by seed, which
is exact however far each arm's seeds scatter (one that reached the floor hardly does) and whatever they share. Welch's
test has more degrees of freedom, and is too bold for it where that counts: of 3 or 5 seeds whose scatter differs
tenfold, it has p < .0001 in .0005 or .0003 of all equal arms, and Holm's first steps ask for such p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from fairbench.stats.multiplicity import holm
from fairbench.types import FloatArray

Mask = NDArray[np.bool_]
_ROUNDING: Final = 1e-12


class Means(NamedTuple):
    """Means over seeds, their variances, and the limits of their intervals; each of the shape (arms, axes)."""

    mean: FloatArray
    variance: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Domination:
    """All comparisons of A arms on J axes. Element [a, b] is about arm a against arm b; [a, a] is NaN or False.

    difference, low, high: (A, A, J), a minus b where positive is better, with the interval at 1 - alpha. not_inferior:
    (A, A, J), p-values of "a is worse than b by the margin or more". better: (A, A, J), p-values of "a is no better
    than b"; better_adjusted: by Holm, over axes and ordered pairs. dominates: (A, A), whether a is shown to dominate b.
    """

    difference: FloatArray
    low: FloatArray
    high: FloatArray
    not_inferior: FloatArray
    better: FloatArray
    better_adjusted: FloatArray
    dominates: Mask


def means(values: ArrayLike, errors: ArrayLike, level: float = 0.95) -> Means:
    """Return the means of arms over seeds, with Student's intervals.

    values, errors: (arms, axes, seeds), at least two seeds: each training's value, and its standard error from drawing
    images, 0 where it is not known. The variance is that between seeds, which holds the images' share; few seeds may
    by chance lie closer together than their images allow, so it is never taken to be less than the errors say.
    Raises ValueError for fewer than two seeds.
    """
    of_seeds, error = (np.asarray(x, dtype=np.float64) for x in (values, errors))
    seeds = of_seeds.shape[-1]
    if seeds < 2:
        raise ValueError(f"an interval over trainings takes two seeds or more, got {seeds}")
    mean = of_seeds.mean(axis=-1)
    variance = np.maximum(of_seeds.var(axis=-1, ddof=1), (error**2).mean(axis=-1)) / seeds
    reach = stdtrit(seeds - 1, (1 + level) / 2) * np.sqrt(variance)
    return Means(mean, variance, mean - reach, mean + reach)


def compare(
    values: ArrayLike, errors: ArrayLike, higher_is_better: ArrayLike, margins: ArrayLike, alpha: float = 0.05
) -> Domination:
    """Compare every arm with every other one, by Student's t of the differences of trainings with one seed.

    values, errors: as in `means`. higher_is_better, margins: (axes,), margins above 0 in the units of the values.
    The variance of the differences is never taken to be less than the errors of both say. A pair whose difference does
    not vary at all (and whose errors are 0) is never shown better, and not inferior where it is worse by less than the
    margin. Raises ValueError for fewer than two seeds, or for a margin that is not positive.

    Sources: Berger, Technometrics 24 (1982), of intersection-union tests; Holm 1979.
    """
    margin = np.asarray(margins, dtype=np.float64)
    if not (margin > 0).all():
        raise ValueError("margins are above 0")
    of_seeds, error_of = (np.asarray(x, dtype=np.float64) for x in (values, errors))
    seeds = of_seeds.shape[-1]
    if seeds < 2:
        raise ValueError(f"a comparison of trainings takes two seeds or more, got {seeds}")
    of_seeds = np.where(np.asarray(higher_is_better, dtype=bool)[:, None], of_seeds, -of_seeds)
    pairs = of_seeds[:, None] - of_seeds[None, :]
    squares = (error_of[:, None] ** 2 + error_of[None, :] ** 2).mean(axis=-1)
    spread = pairs.std(axis=-1, ddof=1)
    rounding = _ROUNDING * np.abs(of_seeds).max(initial=0.0)
    spread[spread <= rounding] = 0.0  # else rounding would pass for certainty
    error = np.sqrt(np.maximum(spread**2, squares) / seeds)
    difference, freedom = pairs.mean(axis=-1), seeds - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        better = np.where(error > 0, stdtr(freedom, -difference / error), 1.0)
        inside = np.where(difference + margin > rounding, 0.0, 1.0)  # of arms without any variance
        not_inferior = np.where(error > 0, stdtr(freedom, -(difference + margin) / error), inside)
    reach = stdtrit(freedom, 1 - alpha / 2) * error
    itself = np.eye(len(of_seeds), dtype=bool)
    for p in (better, not_inferior):
        p[itself] = np.nan
    adjusted = holm(better.ravel()).reshape(better.shape)
    shown: Any = (not_inferior <= alpha).all(axis=-1) & (adjusted <= alpha).any(axis=-1)
    return Domination(difference, difference - reach, difference + reach, not_inferior, better, adjusted, shown)
