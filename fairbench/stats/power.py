"""The power of a comparison of two runs: how often its test finds a change.

The test planned for is the one that `comparison` does, on the mean difference of concentration. Over this list it is
two-sided, with Hoeffding's standard error (`difference.concentration_difference`), at the level that Holm's first step
leaves to one of several attributes; it is simulated (`list_power`). Over other prompts, Gaffke's interval of the mean
difference must exclude 0 (`gaffke.mean_interval`). The plan allows for what makes a difference smaller on paper than in
truth: images without a face, and a classifier that errs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from fairbench.errors import FairbenchError
from fairbench.stats import gaffke
from fairbench.stats.estimands import concentration_of_shares, concentration_variance
from fairbench.stats.intervals import Scope
from fairbench.stats.list_power import Runs, power_over_list
from fairbench.types import FloatArray

MIN_FACES: Final = 4
"""Images with a face that a prompt needs to be compared."""
MIN_PROMPTS: Final[dict[Scope, int]] = {"this list": 2, "other prompts": gaffke.FEWEST}
"""Of one prompt the error is not known well enough for a test."""
_LISTS, LISTS_OF_CURVE = 2_000, 400
"""Lists of prompts that are simulated for the power over other prompts."""
_MAX_DRAWN: Final = 200
"""Prompts of a list that is simulated; the sum over more prompts is taken to be normal."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is assumed about run A, the classifier and the test.

    baseline: true shares of run A, (K,) or (S, K) for S typical prompts, say those of a pilot run; see `shares_at`.
    confusion: (K, K), rows true, columns read, rows summing to 1; None: the classifier does not err.
    face_rate: faces per image, in (0, 1]. between_prompt_sd: sd over prompts of the true difference in concentration,
    beyond what the shares of `baseline` imply; it counts only for other prompts. alpha: the level of the one test, what
    is left of it by an adjustment for several. Raises FairbenchError where a number is out of range.
    """

    baseline: FloatArray
    confusion: FloatArray | None = None
    face_rate: float = 1.0
    between_prompt_sd: float = 0.0
    alpha: float = 0.05
    scope: Scope = "this list"

    def __post_init__(self) -> None:
        classes = np.shape(self.baseline)[-1]
        if classes < 2 or not _are_shares(self.baseline):
            raise FairbenchError("Field baseline: give shares of at least two classes that sum to 1.")
        if self.confusion is not None and (
            np.shape(self.confusion) != (classes, classes) or not _are_shares(self.confusion)
        ):
            raise FairbenchError(f"Field confusion: give a {classes} x {classes} table whose rows sum to 1.")
        if not 0 < self.face_rate <= 1:
            raise FairbenchError(f"Field face_rate: {self.face_rate} does not lie in (0, 1].")
        if not self.between_prompt_sd >= 0:
            raise FairbenchError(f"Field between_prompt_sd: {self.between_prompt_sd} is negative: give 0 or more.")
        if not 0 < self.alpha < 1:
            raise FairbenchError(f"Field alpha: {self.alpha} does not lie between 0 and 1.")

    @property
    def typical(self) -> FloatArray:
        """Run A's shares as typical prompts (S, K)."""
        return np.atleast_2d(np.asarray(self.baseline, dtype=np.float64))

    def as_read(self, shares: FloatArray) -> FloatArray:
        """Return the shares (S, K) that the classifier reads."""
        return shares if self.confusion is None else np.asarray(shares @ np.asarray(self.confusion, dtype=np.float64))


def _are_shares(p: ArrayLike) -> bool:
    """Return whether every row is non-negative and sums to 1."""
    p = np.asarray(p, dtype=np.float64)
    return bool((p >= 0).all() and np.allclose(p.sum(axis=-1), 1, atol=1e-6))


def shares_at(value: float, classes: int) -> FloatArray:
    """Return shares (K,) with this concentration: one class raised, the others equal. Raises outside [0, 1]."""
    if not 0 <= value <= 1:
        raise FairbenchError(f"Field detect: a concentration of {value:g} is impossible: it lies in [0, 1].")
    return _raised(math.sqrt(value), classes)


def shares_at_rd(rd: float, classes: int) -> FloatArray:
    """Return shares (K,) with this RD: one class raised, the others equal. Raises FairbenchError outside [0, 2/K]."""
    if not 0 <= rd <= 2 / classes + 1e-9:
        raise FairbenchError(f"Field detect: RD {rd:g} lies outside of [0, {2 / classes:.3f}] for {classes} classes.")
    return _raised(min(rd * classes / 2, 1.0), classes)


def _raised(way: float, classes: int) -> FloatArray:
    return np.asarray(np.full(classes, (1 - way) / classes) + way * np.eye(classes)[0])


def symmetric_confusion(accuracy: float, classes: int) -> FloatArray:
    """Return the (K, K) table of a classifier that errs equally towards every other class; accuracy in [0, 1]."""
    off = (1 - accuracy) / (classes - 1)
    return np.asarray(off + (accuracy - off) * np.eye(classes))


def shift(shares: FloatArray, change: float) -> FloatArray:
    """Return shares (S, K) whose mean concentration is `change` larger: every prompt goes the same share of its way.

    Downwards towards uniform, upwards towards its leading class alone. Raises FairbenchError where the mean would leave
    [0, 1].
    """
    mean = float(concentration_of_shares(shares).mean())
    room = 1 - mean if change > 0 else mean
    if abs(change) > room + 1e-9:
        raise FairbenchError(
            f"Field detect: concentration {mean:.3f} cannot change by {change:+.3f}, as it lies in [0, 1]: ask for at "
            f"most {room:.3f} or give another baseline."
        )
    classes = shares.shape[-1]
    if change <= 0:
        way = 1 - math.sqrt(max(0.0, 1 + change / mean)) if mean > 0 else 0.0
        return np.asarray((1 - way) * shares + way / classes)
    # Of (1 - w) p + w e the sum of squares is a quadratic in the way w, whose larger root is negative.
    goal = np.eye(classes)[shares.argmax(axis=-1)]
    a, b = ((shares - goal) ** 2).sum(axis=-1).mean(), (shares * (goal - shares)).sum(axis=-1).mean()
    more = change * (classes - 1) / classes
    way = (math.sqrt(b**2 + a * more) - b) / a if a > 0 else 0.0
    return np.asarray((1 - min(way, 1.0)) * shares + min(way, 1.0) * goal)


def power(plan: Plan, change: float, prompts: ArrayLike, images: ArrayLike) -> FloatArray:
    """Return the probability that the test finds a true change of concentration (negative: towards balance).

    prompts, images (per prompt and run): broadcast against each other; arrays give a curve. Planned at the expected
    number of faces. NaN with fewer than MIN_FACES faces per prompt or fewer than MIN_PROMPTS prompts. Raises
    FairbenchError as `shift` does.
    """
    return powers(plan, change, prompts, images, _LISTS)


def powers(plan: Plan, change: float, prompts: ArrayLike, images: ArrayLike, lists: int) -> FloatArray:
    """Return `power`, by so many simulated lists where it is over other prompts."""
    prompts, images = np.broadcast_arrays(np.asarray(prompts, np.float64), np.asarray(images, np.float64))
    result = np.full(prompts.shape, np.nan)
    enough = (images * plan.face_rate >= MIN_FACES) & (prompts >= MIN_PROMPTS[plan.scope])
    runs = plan.as_read(plan.typical), plan.as_read(shift(plan.typical, change))
    for at in map(tuple, np.argwhere(enough)):
        faces, n = float(images[at] * plan.face_rate), int(prompts[at])
        if plan.scope == "this list":
            result[at] = power_over_list(plan.alpha, runs, round(images[at]), plan.face_rate, n)
        else:
            result[at] = _power_of_interval(plan, change, runs, faces, _lists(n, lists) if n <= _MAX_DRAWN else n)
    return result


def normal_power(plan: Plan, change: float, prompts: float, images: float) -> float:
    """Return `power` were the mean difference normal and its error certain: where to look for an answer.

    Raises FairbenchError as `shift` does.
    """
    runs = plan.as_read(plan.typical), plan.as_read(shift(plan.typical, change))
    effects = concentration_of_shares(runs[1]) - concentration_of_shares(runs[0])
    variance = float(sum(concentration_variance(p, np.array(images * plan.face_rate)).mean() for p in runs))
    if plan.scope == "other prompts":
        variance += float(effects.var()) + plan.between_prompt_sd**2
    error = max(math.sqrt(max(variance, 0.0) / prompts), 1e-12)
    return float(ndtr(abs(float(effects.mean())) / error + ndtri(plan.alpha / 2)))


Lists = tuple[FloatArray, FloatArray]
"""Which typical prompt each prompt of a list is, as a number in [0, 1), and its noise: (lists, prompts) each."""


def _power_of_interval(plan: Plan, change: float, runs: Runs, faces: float, drawn: Lists | int) -> float:
    """Return how often Gaffke's interval of the mean difference over other prompts excludes 0.

    drawn: random numbers for every list of prompts, or a number of prompts that are too many for that.
    """
    effects = concentration_of_shares(runs[1]) - concentration_of_shares(runs[0])
    # A difference between prompts shrinks on paper as the mean change does.
    shrinking = float(effects.mean()) / change if change else 1.0
    variances = np.sum([concentration_variance(p, np.array(faces)) for p in runs], axis=0)
    spread = np.sqrt(variances + (plan.between_prompt_sd * shrinking) ** 2)
    widest = 1 + 1 / (faces - 1)
    if isinstance(drawn, int):
        sd = math.sqrt(float((spread**2).mean() + effects.var()))
        return _power_of_many(abs(float(effects.mean())), sd, widest, drawn, plan.alpha)
    which, noise = drawn
    typical = np.minimum((which * len(effects)).astype(np.int64), len(effects) - 1)
    differences = np.clip(effects[typical] + noise * spread[typical], -widest, widest)
    shown = [_excludes_zero(sign * differences, widest, plan.alpha / 2) for sign in (1, -1)]
    return float(np.mean(shown[0] | shown[1]))


@lru_cache(maxsize=8)  # a search over images asks for the same prompts again
def _lists(prompts: int, lists: int) -> Lists:
    """Return uniform and normal numbers (lists, prompts), the same for all plans."""
    rng = np.random.default_rng(0)
    return rng.random((lists, prompts)), rng.standard_normal((lists, prompts))


def _excludes_zero(differences: FloatArray, widest: float, level: float) -> NDArray[np.bool_]:
    """Return for lists of differences (R, P) whether Gaffke's upper limit lies below 0: P(weighted mean >= 0) <= level.

    The weights are exponential variables over their sum, which has no say in the sign, so that this is a tail of a sum
    of exponential variables, by Lugannani and Rice's saddlepoint formula (1980): to .001 of `gaffke.weighted_mean_cdf`,
    at any number of prompts.
    """
    x = np.concatenate([differences, np.full((len(differences), 1), widest)], axis=1)
    below = differences.min(axis=1) < 0
    lowest = np.where(below, x.min(axis=1), -1.0)
    low, high = (np.ones(len(x)) / bound for bound in (lowest, widest))
    for _ in range(30):  # the derivative of the cumulant generating function rises from -infinity to infinity
        middle = (low + high) / 2
        rising = (x / (1 - middle[:, None] * x)).sum(axis=1) > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    saddle = (low + high) / 2
    rest = 1 - saddle[:, None] * x
    with np.errstate(invalid="ignore", divide="ignore"):
        w = np.sign(saddle) * np.sqrt(2 * np.log(rest).sum(axis=1))
        u = saddle * np.sqrt(((x / rest) ** 2).sum(axis=1))
        tail = ndtr(-w) + np.exp(-(w**2) / 2) / math.sqrt(2 * math.pi) * (1 / u - 1 / w)
    return np.asarray(below & (saddle > 0) & (tail <= level))


def _power_of_many(effect: float, sd: float, widest: float, prompts: int, alpha: float) -> float:
    """Return the power over so many prompts that the weighted sum of their differences is normal."""
    critical = -float(ndtri(alpha / 2)) * math.sqrt(prompts * (sd**2 + effect**2) + widest**2)
    spread = max(math.sqrt(prompts) * sd, 1e-12)
    reached = prompts * effect - widest
    return float(ndtr((reached - critical) / spread) + ndtr((-2 * widest - reached - critical) / spread))
