"""Two runs over the same prompts: the difference, its interval, and tests that it is there, or that it is negligible.

The pairing unit is the prompt. Every difference is B minus A, and the two scopes are never mixed:

* "this list": only the images are a sample. The standard error comes from the images, so the caller passes it in; the
  normal distribution applies, and tests are made in this scope alone.
* "other prompts": the prompts are a sample. There is an interval of the mean difference, and no p-value: it asks for
  nothing but bounded differences, of which a few, perhaps none of those drawn, may be extreme.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from fairbench.stats import gaffke
from fairbench.types import FloatArray

Alternative = Literal["two-sided", "less", "greater"]
Better = Literal["lower", "higher"]

ROUNDING: Final = 1e-12
"""Differences of metric values below this are rounding: two equal shares can be reached by different sums."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The prompts that both runs measured. difference: B - A, (n,); in_both: which of the P prompts they are, (P,)."""

    difference: FloatArray
    in_both: NDArray[np.bool_]

    @property
    def n_left_out(self) -> int:
        """Return how many prompts have no value in at least one run."""
        return int(self.in_both.size - self.in_both.sum())


def pair(a: ArrayLike, b: ArrayLike) -> Pairs:
    """Pair prompt values of run A and run B, both of shape (P,) in the same prompt order; NaN is "not measured".

    A prompt that either run lacks is left out: a mean over different prompts is not a difference of models. RD values
    must be comparable before they come here (rd@n0 at the smaller face count of the two runs).
    Raises ValueError where the shapes differ.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"prompt values are two arrays of one shape (P,), got {a.shape} and {b.shape}")
    difference = b - a
    in_both = ~np.isnan(difference)
    return Pairs(np.where(np.abs(difference) > ROUNDING, difference, 0.0)[in_both], in_both)


@dataclass(frozen=True, slots=True)
class Effect:
    """The mean difference B - A over these prompts, with the standard error that drawing images gives it.

    `se` is 0 (or rounding's 1e-16) where nothing varies and NaN where there is no prompt. steeper: by how much the
    variance grows per unit by which the true difference lies below the estimate, and above it: tests and limits take
    the error that the estimate would have under their hypothesis.
    """

    estimate: float
    se: float
    n_pairs: int
    n_left_out: int
    steeper: tuple[float, float] = (0.0, 0.0)

    @property
    def varies(self) -> bool:
        """Whether there is a standard error beyond that of rounding."""
        return self.se > ROUNDING

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided confidence interval; (NaN, NaN) where nothing varies, as no width can be honest there.

        Prompts that are all one-sided in both runs differ by exactly 0 in every prompt: that says that the
        difference is small, not that it is known without error.
        """
        if not self.varies:
            return math.nan, math.nan
        z = float(ndtri((1 + level) / 2))
        # Of x = z sqrt(se^2 + steeper x), the distance of a limit from the estimate.
        halves = [z**2 * steeper / 2 for steeper in self.steeper]
        below, above = (half + math.hypot(half, z * self.se) for half in halves)
        return self.estimate - below, self.estimate + above

    def p_value(self, null: float = 0.0, alternative: Alternative = "two-sided") -> float:
        """Return the p-value of "the true difference is `null`" against the alternative, in [0, 1] or NaN.

        Where nothing varies p is 1 if the difference equals `null`, else NaN: a standard error of 0 is an artefact of
        plug-in shares.
        """
        distance = self.estimate - null
        if self.varies:
            error = math.sqrt(self.se**2 + self.steeper[distance < 0] * abs(distance))
            below, above = float(ndtr(distance / error)), float(ndtr(-distance / error))
        elif self.se <= ROUNDING and abs(distance) <= ROUNDING:
            below = above = 1.0
        else:
            return math.nan
        return {"less": below, "greater": above, "two-sided": min(1.0, 2 * min(below, above))}[alternative]

    def equivalence_p(self, margin: float) -> float:
        """Return the p-value of "the true difference is at least `margin` in size": small means equivalent.

        Two one-sided tests (Schuirmann 1987): at level .05 the same as asking whether the 90 % interval lies inside
        (-margin, margin). Raises ValueError for a margin that is not positive.
        """
        _check_margin(margin)
        return max(self.p_value(-margin, "greater"), self.p_value(margin, "less"))

    def non_inferiority_p(self, margin: float, better: Better) -> float:
        """Return the p-value of "B is worse than A by at least `margin`": small means preserved.

        better: whether lower or higher values of this metric are better. Raises ValueError for a margin that is not
        positive.
        """
        _check_margin(margin)
        return self.p_value(margin, "less") if better == "lower" else self.p_value(-margin, "greater")


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise ValueError(f"a margin is a positive difference, got {margin}")


def effect(pairs: Pairs, se: float) -> Effect:
    """Return the mean difference over this list; `se`: its standard error over the images of the paired prompts.

    See `independent_se`. Where both runs are corrected by one calibration table, their errors are shared: take the
    standard deviation of the mean difference over common calibration draws instead.
    Raises ValueError for a negative `se`.
    """
    if se < 0:
        raise ValueError(f"a standard error is not negative, got {se}")
    n = pairs.difference.size
    estimate = float(pairs.difference.mean()) if n else math.nan
    return Effect(estimate, se if n else math.nan, n, pairs.n_left_out)


def other_prompts(
    pairs: Pairs, lowest: float, highest: float, level: float = 0.95, shared: float = 0.0
) -> tuple[float, float]:
    """Return the interval of the mean difference over prompts of which these are a random sample.

    lowest, highest: the range of a prompt's difference. shared: the standard error of what all prompts share, such as
    a calibration; its part is added to each limit as independent parts are. Gaffke's limits; NaN below 10 prompts.
    """
    if pairs.difference.size < gaffke.FEWEST:
        return math.nan, math.nan
    estimate, part = float(pairs.difference.mean()), float(ndtri((1 + level) / 2)) * shared
    low, high = (float(x) for x in gaffke.mean_interval(pairs.difference.astype(np.float64), lowest, highest, level))
    return estimate - math.hypot(estimate - low, part), estimate + math.hypot(high - estimate, part)


def independent_se(pairs: Pairs, variance_a: ArrayLike, variance_b: ArrayLike) -> float:
    """Return the s.e. of the mean difference from the image-level variances, shape (P,), of each run's prompt values.

    The runs' images are taken as independent. Images made from the same noise by two states of one base model
    correlate positively as a rule, and then this is too large, hence cautious.
    """
    variance = np.asarray(variance_a, dtype=np.float64) + np.asarray(variance_b, dtype=np.float64)
    paired = np.broadcast_to(variance, pairs.in_both.shape)[pairs.in_both]
    return math.sqrt(float(paired.sum())) / paired.size if paired.size else math.nan
