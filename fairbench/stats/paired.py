"""Two runs over the same prompts: the difference, its interval, and tests that it is there, or that it is negligible.

The pairing unit is the prompt. Every difference is B minus A, and two questions are kept apart:

* "other prompts" (random): the prompts are a sample. The differences vary between prompts and with the images
  drawn; the t distribution over prompts carries both.
* "this list" (fixed): only the images are a sample. The standard error comes from the images, so the caller
  passes it in; the normal distribution applies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from fairbench.stats.intervals import Scope
from fairbench.types import FloatArray

Alternative = Literal["two-sided", "less", "greater"]
Better = Literal["lower", "higher"]

MAX_ENUMERATED: Final = 16
"""Up to this many nonzero differences all 2^n sign assignments are enumerated."""
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
    """The mean difference B - A with its standard error; `df` is infinite where the normal distribution applies.

    `se` is 0 (or rounding's 1e-16) where nothing varies and NaN where it cannot be known (one prompt taken as a sample
    of prompts).
    """

    estimate: float
    se: float
    df: float
    n_pairs: int
    n_left_out: int
    scope: Scope

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
        half = float(stdtrit(self.df, (1 + level) / 2)) * self.se
        return self.estimate - half, self.estimate + half

    def p_value(self, null: float = 0.0, alternative: Alternative = "two-sided") -> float:
        """Return the p-value of "the true difference is `null`" against the alternative, in [0, 1] or NaN.

        Where nothing varies t is not defined. If the constant difference equals `null`, p is 1 (the sign-flip test
        says the same: no assignment of signs is more extreme). Otherwise, over random prompts, the exact sign-flip
        test about `null` stands in: all n differences lie on one side, which has probability 2^-n. For fixed
        prompts p is NaN: n prompts are no sample there, and a standard error of 0 is an artefact of plug-in shares.
        """
        distance = self.estimate - null
        if self.varies:
            below = float(stdtr(self.df, distance / self.se))
            above = float(stdtr(self.df, -distance / self.se))
        elif self.se <= ROUNDING and abs(distance) <= ROUNDING:
            below = above = 1.0
        elif self.se <= ROUNDING and self.scope == "other prompts":
            tail = 0.5**self.n_pairs
            below, above = (tail, 1.0) if distance < 0 else (1.0, tail)
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


def effect_random(pairs: Pairs) -> Effect:
    """Return the mean difference for other prompts: s.e. = sd / sqrt(n) over prompts, n - 1 degrees of freedom."""
    d, n = pairs.difference, pairs.difference.size
    se = math.nan
    if n > 1:
        se = float(d.std(ddof=1)) / math.sqrt(n) if np.ptp(d) > ROUNDING else 0.0
    estimate = float(d.mean()) if n else math.nan
    return Effect(estimate, se, float(n - 1), n, pairs.n_left_out, "other prompts")


def effect_fixed(pairs: Pairs, se: float) -> Effect:
    """Return the mean difference for this list; `se`: its standard error over the images of the paired prompts.

    See `independent_se`. Where both runs are corrected by one calibration table, their errors are shared: take the
    standard deviation of the mean difference over common calibration draws instead.
    Raises ValueError for a negative `se`.
    """
    if se < 0:
        raise ValueError(f"a standard error is not negative, got {se}")
    n = pairs.difference.size
    estimate = float(pairs.difference.mean()) if n else math.nan
    return Effect(estimate, se if n else math.nan, math.inf, n, pairs.n_left_out, "this list")


def independent_se(pairs: Pairs, variance_a: ArrayLike, variance_b: ArrayLike) -> float:
    """Return the s.e. of the mean difference from the image-level variances, shape (P,), of each run's prompt values.

    The runs' images are taken as independent. Images made from the same noise by two states of one base model
    correlate positively as a rule, and then this is too large, hence cautious.
    """
    variance = np.asarray(variance_a, dtype=np.float64) + np.asarray(variance_b, dtype=np.float64)
    paired = np.broadcast_to(variance, pairs.in_both.shape)[pairs.in_both]
    return math.sqrt(float(paired.sum())) / paired.size if paired.size else math.nan


def sign_flip_p(pairs: Pairs, rng: np.random.Generator, resamples: int = 9_999) -> float:
    """Return the two-sided p-value of "the runs are alike": how often is the mean difference as large in size if A and
    B are swapped at random, prompt by prompt?

    Exact for differences that are symmetric about 0, as those of two equal models with equal face counts are, and
    valid for many prompts otherwise. All 2^n assignments for at most 16 nonzero differences; else `resamples` random
    ones with the +1 rule, so that p is never 0 (Phipson and Smyth 2010). Differences of 0 cannot be flipped and do
    not matter; where all are 0, p is 1: no evidence of a difference, which is not evidence of none. No pairs: NaN.

    `scipy.stats.permutation_test` gives the same exact p-values, but takes 0.5 s for 16 prompts where this takes 1 ms.
    """
    if not pairs.difference.size:
        return math.nan
    d = pairs.difference[pairs.difference != 0]
    exact = d.size <= MAX_ENUMERATED
    sums = _every_sum(d) if exact else _random_sums(d, rng, resamples)
    # Values of counts tie often, and equal sums differ by rounding: a tie counts as extreme.
    extreme = int(np.count_nonzero(np.abs(sums) >= abs(d.sum()) - ROUNDING * max(1, d.size)))
    return extreme / sums.size if exact else (1 + extreme) / (1 + resamples)


def _every_sum(d: FloatArray) -> FloatArray:
    """Return the 2^n sums of +-d_1 .. +-d_n."""
    sums: FloatArray = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _random_sums(d: FloatArray, rng: np.random.Generator, resamples: int) -> FloatArray:
    """Return `resamples` sums of randomly signed differences, a thousand rows at a time to keep memory small."""
    blocks = [min(1_000, resamples - start) for start in range(0, resamples, 1_000)]
    return np.concatenate([rng.choice(np.array([-1.0, 1.0]), (rows, d.size)) @ d for rows in blocks])
