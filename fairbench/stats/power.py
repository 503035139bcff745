"""How many images and prompts a comparison of two runs needs, and what a given budget can detect.

The test planned for is the one that `comparison` does: a two-sided paired test of the mean prompt value. The plan
allows for what makes a difference in RD smaller on paper than in truth: few faces (RD of a nearly fair model cannot
fall below its chance floor), images without a face, and a classifier that errs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import nct, qmc

from fairbench.errors import FairbenchError
from fairbench.metrics._rd import relative_diversity
from fairbench.stats.intervals import Scope
from fairbench.types import FloatArray

MAX_SEARCHED: Final = 1_000_000
"""Plans that need more images per prompt, or more prompts, than this are answered with None."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is assumed about run A, the classifier and the test.

    baseline: true shares of run A, (K,) or (S, K) for S typical prompts, say those of a pilot run; see `shares_at_rd`.
    confusion: (K, K), rows true, columns read, rows summing to 1; None: the classifier does not err.
    face_rate: faces per image, in (0, 1]. between_prompt_sd: sd over prompts of the true difference in RD, beyond what
    the shares of `baseline` imply; it counts only for "other prompts". estimand: "rd" is rd@n0 at the planned
    number of faces, "concentration" the unbiased (K sum p^2 - 1) / (K - 1).
    Raises FairbenchError where a number is out of range.
    """

    baseline: FloatArray
    confusion: FloatArray | None = None
    face_rate: float = 1.0
    between_prompt_sd: float = 0.0
    alpha: float = 0.05
    scope: Scope = "other prompts"
    estimand: Literal["rd", "concentration"] = "rd"

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


def _are_shares(p: ArrayLike) -> bool:
    """Return whether every row is non-negative and sums to 1."""
    p = np.asarray(p, dtype=np.float64)
    return bool((p >= 0).all() and np.allclose(p.sum(axis=-1), 1, atol=1e-6))


def shares_at_rd(rd: float, classes: int) -> FloatArray:
    """Return shares (K,) with this RD: one class raised, the others equal. Raises FairbenchError outside [0, 2/K]."""
    shares: FloatArray = shift(np.full((1, classes), 1 / classes), rd)[0]
    return shares


def symmetric_confusion(accuracy: float, classes: int) -> FloatArray:
    """Return the (K, K) table of a classifier that errs equally towards every other class; accuracy in [0, 1]."""
    off = (1 - accuracy) / (classes - 1)
    return np.asarray(off + (accuracy - off) * np.eye(classes))


def shift(shares: FloatArray, change: float) -> FloatArray:
    """Return shares (S, K) whose mean RD is `change` larger: every prompt goes the same fraction of its way.

    Downwards towards uniform, upwards towards its leading class alone; on both ways RD is linear. Raises
    FairbenchError where the mean RD would leave [0, 2/K].
    """
    classes = shares.shape[-1]
    mean = float(relative_diversity(shares).mean())
    room = 2 / classes - mean if change > 0 else mean
    if abs(change) > room + 1e-9:
        raise FairbenchError(
            f"Field detect: RD {mean:.3f} cannot change by {change:+.3f}, as it lies in [0, {2 / classes:.3f}] for "
            f"{classes} classes: ask for at most {room:.3f} or give another baseline."
        )
    goal = np.eye(classes)[shares.argmax(axis=-1)] if change > 0 else np.full(classes, 1 / classes)
    fraction = min(1.0, abs(change) / room) if room > 0 else 0.0
    return np.asarray((1 - fraction) * shares + fraction * goal)


def power(plan: Plan, change: float, prompts: ArrayLike, images: ArrayLike) -> FloatArray:
    """Return the probability that the test finds a true change of RD by `change` (negative: towards balance).

    prompts, images (per prompt and run): broadcast against each other; arrays give a curve. Planned at the expected
    number of faces: where images without a face are common, the smaller count of two runs lies a per cent or two below.
    Within a few points of the simulated test from about 20 faces per prompt. NaN with fewer than two faces per prompt,
    or with one prompt as a sample of prompts. Raises FairbenchError as `shift` does.
    """
    prompts, images = np.broadcast_arrays(np.asarray(prompts, np.float64), np.asarray(images, np.float64))
    result = np.full(prompts.shape, np.nan)
    for n in np.unique(images[images * plan.face_rate >= 2]):
        at = images == n
        effect, sd = _effect_and_sd(plan, float(change), float(n) * plan.face_rate)
        with np.errstate(divide="ignore", invalid="ignore"):  # two one-sided runs: no variance, and no power if alike
            in_se = np.divide(np.sqrt(prompts[at]) * effect, sd)
        result[at] = _test_power(plan, in_se, prompts[at])
    return result


def _effect_and_sd(plan: Plan, change: float, faces: float) -> tuple[float, float]:
    """Return the expected difference of prompt values and the sd, over prompts and images, of one such difference."""
    mean_a, variance_a = _moments(plan, 0.0, faces)
    mean_b, variance_b = _moments(plan, change, faces)
    effect = float((mean_b - mean_a).mean())
    variance = float((variance_a + variance_b).mean())
    if plan.scope == "other prompts":
        variance += float((mean_b - mean_a).var())
        # A difference between prompts shrinks on paper as the mean change does.
        variance += (plan.between_prompt_sd * effect / change) ** 2 if change else plan.between_prompt_sd**2
    return effect, math.sqrt(variance)


@lru_cache(maxsize=256)  # searches over prompts ask for the same faces again, and every change for run A
def _moments(plan: Plan, change: float, faces: float) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance (S,) of the prompt values read from so many faces after a change of the true RD."""
    shares = _as_read(plan, shift(_typical(plan), change))
    return _rd_moments(shares, faces) if plan.estimand == "rd" else _concentration_moments(shares, faces)


def _typical(plan: Plan) -> FloatArray:
    """Return run A's shares as typical prompts (S, K)."""
    return np.atleast_2d(np.asarray(plan.baseline, dtype=np.float64))


def _as_read(plan: Plan, shares: FloatArray) -> FloatArray:
    """Return the shares (S, K) that the classifier reads."""
    return shares if plan.confusion is None else np.asarray(shares @ np.asarray(plan.confusion, dtype=np.float64))


def _test_power(plan: Plan, shift_in_se: FloatArray, prompts: FloatArray) -> FloatArray:
    """Return the power of the two-sided test whose statistic is off by `shift_in_se` standard errors."""
    if plan.scope == "this list":
        z = -float(ndtri(plan.alpha / 2))
        return np.asarray(ndtr(shift_in_se - z) + ndtr(-shift_in_se - z))
    df = prompts - 1
    critical = stdtrit(df, 1 - plan.alpha / 2)
    size = np.minimum(np.abs(shift_in_se), 1e6)
    other_tail = np.nan_to_num(nct.cdf(-critical, df, size))  # NaN where it is too small for nct, never where it counts
    return np.asarray(nct.sf(critical, df, size) + other_tail)


@lru_cache(maxsize=8)
def _normal_points(classes: int) -> FloatArray:
    """Return 2,048 evenly spread points of the K-dimensional standard normal: one sample for all plans."""
    points = qmc.MultivariateNormalQMC(np.zeros(classes), rng=np.random.default_rng(0)).random(2_048)
    points.flags.writeable = False
    return np.asarray(points)


def _rd_moments(shares: FloatArray, faces: float) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance (S,) of RD at so many faces: RD is not linear in the shares, so integrate over them.

    Multinomial shares are independent Poisson counts over their sum. The z^2 term gives a count the skewness of a
    Poisson count (Cornish and Fisher 1938): without it, the spread of RD comes out up to a fifth too large, as a
    leading class that happens to gain leaves fewer faces over which the others differ. Where there are many prompts,
    each needs fewer points: what counts are means over prompts, and the points are the same for runs A and B.
    """
    points_per_prompt = max(128, 2_048 // (1 << (len(shares) - 1).bit_length()))
    points = _normal_points(shares.shape[-1])[:points_per_prompt]  # the first 2^m points are evenly spread, too
    p = shares[:, None, :]
    counts = faces * p + np.sqrt(faces * p) * points + (points**2 - 1) / 6
    counts = np.where(p > 0, np.maximum(counts, 1e-9), 0.0)
    values = relative_diversity(counts / counts.sum(axis=-1, keepdims=True))
    return values.mean(axis=1), values.var(axis=1)


def _concentration_moments(shares: FloatArray, faces: float) -> tuple[FloatArray, FloatArray]:
    """Return mean and exact variance (S,) of concentration: a U-statistic of pairs of faces (Hoeffding 1948)."""
    scale = shares.shape[-1] / (shares.shape[-1] - 1)
    second, third = (shares**2).sum(axis=-1), (shares**3).sum(axis=-1)
    variance = (4 * (faces - 2) * (third - second**2) + 2 * (second - second**2)) / (faces * (faces - 1))
    return scale * second - scale / shares.shape[-1], scale**2 * np.maximum(variance, 0)


def images_needed(plan: Plan, change: float, prompts: int, target: float = 0.8) -> int | None:
    """Return the fewest images per prompt and run with power >= target; None: even MAX_SEARCHED are not enough.

    That happens where the prompts themselves differ too much: more images then do not help, more prompts do.
    """
    return _smallest(lambda n: float(power(plan, change, prompts, n)) >= target, 1)


def prompts_needed(plan: Plan, change: float, images: int, target: float = 0.8) -> int | None:
    """Return the fewest prompts with power >= target at so many images per prompt; None as in `images_needed`."""
    return _smallest(lambda p: float(power(plan, change, p, images)) >= target, 1)


def _smallest(enough: Callable[[int], bool], low: int) -> int | None:
    """Return the smallest integer in low..MAX_SEARCHED that is enough, given that all larger ones are too."""
    high = low
    while not enough(high):
        low, high = high + 1, 2 * high
        if low > MAX_SEARCHED:
            return None
        high = min(high, MAX_SEARCHED)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def detectable(plan: Plan, prompts: ArrayLike, images: ArrayLike, target: float = 0.8) -> FloatArray:
    """Return the smallest size of a true change of RD towards balance that a design finds with power >= target.

    Interpolated: within about 1 %, or 0.002 where run A is wholly one-sided. prompts, images: broadcast against each
    other; arrays give a curve. NaN where even the change to RD 0 would be missed too often.
    """
    room = -float(relative_diversity(_typical(plan)).mean())
    prompts, images = np.broadcast_arrays(np.asarray(prompts, np.float64), np.asarray(images, np.float64))
    result = np.full(prompts.shape, np.nan)
    if abs(room) < 1e-9:
        return result
    needed = _shift_needed(plan, prompts, target) / np.sqrt(prompts)
    for n in np.unique(images[images * plan.face_rate >= 2]):
        at = images == n
        result[at] = _smallest_change(plan, room, float(n), needed[at])
    return result


def _smallest_change(plan: Plan, room: float, images: float, needed: FloatArray) -> FloatArray:
    """Return the sizes of change whose effect is `needed` standard deviations of a prompt's difference, or NaN."""
    # Over the square root of the way: points are dense near no change, where RD near its floor hardly moves, and a run
    # of one-sided prompts, whose difference has hardly a variance there, gives a straight line.
    roots = np.linspace(0, 1, 13)
    pairs = [_effect_and_sd(plan, float(room * root**2), images * plan.face_rate) for root in roots[1:]]
    curve = PchipInterpolator(roots, [0.0, *(abs(effect) / sd if sd > 0 else 0.0 for effect, sd in pairs)])
    root = _bisect(lambda r: curve(r) >= needed, np.zeros(needed.shape), np.ones(needed.shape))
    return np.where(curve(1.0) >= needed, abs(room) * root**2, np.nan)


def _shift_needed(plan: Plan, prompts: FloatArray, target: float) -> FloatArray:
    """Return by how many standard errors the statistic must be off for power >= target; infinite: no number does."""
    high = np.ones(prompts.shape)
    for _ in range(20):
        high = np.where(_test_power(plan, high, prompts) >= target, high, 2 * high)
    smallest = _bisect(lambda size: _test_power(plan, size, prompts) >= target, np.zeros(prompts.shape), high)
    return np.where(_test_power(plan, high, prompts) >= target, smallest, np.inf)


def _bisect(enough: Callable[[FloatArray], NDArray[np.bool_]], low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the smallest values in (low, high] that are enough, elementwise, given that all larger ones are too."""
    for _ in range(24):
        middle = (low + high) / 2
        good = enough(middle)
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return high


def budget_curve(plan: Plan, budget: int, prompts: ArrayLike, target: float = 0.8) -> tuple[FloatArray, FloatArray]:
    """Return images per prompt (m,) and the detectable change (m,), NaN for none, when `budget` images per run are
    spent on prompts (m,) in turn: more prompts of fewer images, or fewer of more.
    """
    split = np.asarray(prompts, dtype=np.int64)
    images = (budget // split).astype(np.float64)
    return images, detectable(plan, split, images, target)
