"""Intervals of task means of `concentration` and `rd_at`, for the two designs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from fairbench.stats.estimands import Floats, IntArray, concentration, rd_at, task_mean
from fairbench.stats.units import Data, Units, as_units, merged

Scope = Literal["this list", "other prompts"]
"""What a claim is about: the prompts that were asked and no others (fixed: only the images are a sample), or all
prompts of which they could be a random sample."""
_PSEUDO_FACES = 3.0
"""Faces, balanced over the classes, that a task as a whole is given when its error is computed, in the spirit of
Agresti and Coull (1998, who add four): images that all show one class must not have an error of 0."""
_FOLDED_VARIANCE = 1 - 2 / np.pi
"""Variance of |Z| over that of Z, for a standard normal Z: what the fold of RD can take off at most."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval: the task mean over `prompts` prompts, `left_out` others having too few faces.

    error: the standard error. shared: the part of it that a calibration has, which more images per prompt do not lower:
    error^2 = (the prompts' part)^2 + shared^2. Limits and errors are NaN where too few prompts are left.
    """

    estimate: float
    low: float
    high: float
    error: float
    prompts: int
    left_out: int
    shared: float = 0.0


class PromptValues(NamedTuple):
    """Values (P,) and the variances (P,) that the draw of images gives them; both NaN where faces are too few."""

    value: Floats
    variance: Floats


def concentration_interval(data: Data, scope: Scope) -> Interval:
    """Return the interval of the task mean of `concentration`; the estimate is unbiased and not clipped at 0."""
    return interval_of(concentration_of_prompts(data), scope, highest=1.0)


def rd_at_interval(data: Data, n0: ArrayLike, scope: Scope, rng: np.random.Generator, times: int = 1000) -> Interval:
    """Return the interval of the task mean of RD at n0 faces (one number, or per prompt); see `rd_at_of_prompts`."""
    values = rd_at_of_prompts(data, n0, rng, times)
    return interval_of(values, scope, lowest=0.0, highest=2 / as_units(data).kinds.shape[1])


def interval_of(
    values: PromptValues, scope: Scope, confidence: float = 0.95, lowest: float = -np.inf, highest: float = np.inf
) -> Interval:
    """Return the interval around the mean of prompt values, cut at the limits of the estimand's range."""
    estimate, used, left_out = task_mean(values.value)
    tail = (1 + confidence) / 2
    if used == 0 or (used == 1 and scope == "other prompts"):
        nan = float("nan")
        return Interval(estimate, nan, nan, nan, used, left_out)
    error, quantile = float(np.sqrt(np.nansum(values.variance)) / used), float(ndtri(tail))
    if scope == "other prompts":
        # The spread over prompts holds the images' error too. Where prompts hardly differ it can fall below it, by
        # chance (fair models) or because values cannot spread (all prompts one-sided): the interval would be too short.
        error = max(float(np.nanstd(values.value, ddof=1) / np.sqrt(used)), error)
        quantile = float(stdtrit(used - 1, tail))
    low, high = max(estimate - quantile * error, lowest), min(estimate + quantile * error, highest)
    return Interval(estimate, low, high, error, used, left_out)


def share_of_prompts(data: Data, k: int) -> PromptValues:
    """Return class k's share of the faces of every prompt and the variance that drawing its images gives it.

    A ratio of two sums over images; NaN without a face. As for concentration, a task of one class alone has no error
    of 0.
    """
    units = as_units(data)
    faces = units.counts.sum(axis=1)
    value = np.where(faces > 0, units.counts[:, k] / np.maximum(faces, 1), np.nan)
    kinds, times = smoothed(units.kinds, units.times)
    sizes = kinds.sum(axis=1)
    total = times @ sizes
    # An image moves a ratio of sums by its own part of the numerator less what the ratio expects of its faces.
    influence = kinds[:, k] - (times @ kinds[:, k] / total)[:, None] * sizes
    images = np.maximum(units.times.sum(axis=1), 2)
    variance = (times * influence**2).sum(axis=1) / total**2 * images / (images - 1)
    return PromptValues(value, np.where(faces > 0, variance, np.nan))


def concentration_of_prompts(data: Data) -> PromptValues:
    """Return concentration of every prompt and the variance that drawing its images gives it.

    NaN below four images with a face.

    The value is the U-statistic over pairs of faces from *different* images, sum over i != j of c_i . c_j divided by
    the sum of s_i s_j (c_i: class counts of image i, s_i their sum); with one face per image it is
    `estimands.concentration`. The variance is the unbiased one of a U-statistic of order two (Hoeffding 1948), its
    kernel centred at the estimate: with g_ij = c_i . c_j - theta s_i s_j, r_i = sum over j != i of g_ij and m images

        (4 sum r_i^2 - 2 sum g_ij^2) / (m (m - 1) (m - 2) (m - 3))
    """
    units = as_units(data)
    prompts, classes = len(units.times), units.kinds.shape[1]
    enough = units.times.sum(axis=1) > 3
    kinds, times = units.kinds, units.times[enough]
    value, variance = np.full(prompts, np.nan), np.full(prompts, np.nan)
    value[enough] = (classes * _concentration(kinds, times)[0] - 1) / (classes - 1)
    variance[enough] = _concentration_variance(*smoothed(kinds, times)) * (classes / (classes - 1)) ** 2
    return PromptValues(value, variance)


def _concentration(kinds: IntArray, times: Floats) -> tuple[Floats, Floats]:
    """Return sum p_k^2 (P,) over pairs of faces from different images, and the number of such pairs (P,)."""
    sizes = kinds.sum(axis=1)
    pairs = (times @ sizes) ** 2 - times @ sizes**2
    same = ((times @ kinds) ** 2).sum(axis=1) - times @ (kinds**2).sum(axis=1)
    return same / pairs, pairs


def _concentration_variance(kinds: IntArray, times: Floats) -> Floats:
    """Return the variance (P,) of `_concentration`; `times` (P, T) need not be whole numbers.

    At balance the unbiased estimate is often too small, even negative, so it never falls below the part that
    remains there, 2 E g^2 / (m (m - 1)).
    """
    theta, pairs = _concentration(kinds, times)
    sizes = kinds.sum(axis=1)
    # Of an image of one kind and one of another: pairs of faces that show the same class, and all pairs.
    same, every = kinds @ kinds.T, np.outer(sizes, sizes)

    def over_pairs(kernel: IntArray) -> Floats:
        """Return the sum (P,) of a kernel (T, T) over ordered pairs of different images."""
        return np.asarray(((times @ kernel) * times).sum(axis=1) - times @ np.diag(kernel))

    # r_i of each kind (P, T), and the sum of g_ij^2, with g = same - theta every multiplied out.
    row = times @ same - np.diag(same) - theta[:, None] * (times @ every - np.diag(every))
    squares = over_pairs(same**2) - 2 * theta * over_pairs(same * every) + theta**2 * over_pairs(every**2)
    m = times.sum(axis=1)
    variance = (4 * (times * row**2).sum(axis=1) - 2 * squares) * m * (m - 1) / ((m - 2) * (m - 3) * pairs**2)
    return np.asarray(np.maximum(variance, 2 * squares / pairs**2))


def rd_at_of_prompts(data: Data, n0: ArrayLike, rng: np.random.Generator, times: int = 1000) -> PromptValues:
    """Return RD at n0 faces of every prompt and the variance that drawing its images gives it; NaN where n0 > faces.

    No unbiased variance exists for n0 > n/2, so two are combined. RD folds where shares are equal: there its variance
    is a third of what its slopes say. The bootstrap sees the fold but blurs it, as redrawn shares lie further from
    equality than the true ones; this bias is taken off (Efron and Tibshirani 1993, section 10.6): twice the variance
    over `times` redraws of the images, less the mean variance over redraws of redraws. Far from balance the fold does
    not matter but rare classes do, which a redraw often lacks: there the slopes are right (the jackknife,
    each kind of image at a time). The weight of the second is `concentration`, the distance from balance.
    """
    units = as_units(data)
    value = rd_at(units.counts, n0)
    variance = np.full(value.shape, np.nan)
    enough = ~np.isnan(value)
    if enough.any():
        units, sizes = Units(units.kinds, units.times[enough]), np.broadcast_to(n0, value.shape)[enough]
        far = np.clip(np.nan_to_num(concentration(units.counts)), 0, 1)
        bootstrap, slopes = _bootstrap_variance(units, sizes, rng, times), _slope_variance(units, sizes)
        variance[enough] = (1 - far) * bootstrap + far * slopes
    return PromptValues(value, variance)


def _bootstrap_variance(units: Units, n0: IntArray, rng: np.random.Generator, times: int) -> Floats:
    """Return the variance (P,) of `rd_at` over redraws of the images, less what redrawing adds to it."""
    kinds, odds = smoothed(units.kinds, units.times)
    odds = odds / odds.sum(axis=1, keepdims=True)
    images = units.times.sum(axis=1)

    def variance_of(drawn: IntArray) -> Floats:
        """Return the variance over the first axis of images by kind (R, ..., T)."""
        counts = drawn @ kinds
        # With several faces per image, a redraw may hold fewer faces than n0.
        return np.asarray(rd_at(counts, np.minimum(n0, counts.sum(axis=-1))).var(axis=0, ddof=1))

    drawn = rng.multinomial(images, odds, size=(times, len(odds)))
    once = variance_of(drawn)
    # Redraws of the first redraws show by how much a redraw changes the variance.
    side = max(2, int(np.sqrt(times)))
    again = rng.multinomial(images, drawn[:side] / images[:, None], size=(side, side, len(odds)))
    twice = variance_of(again).mean(axis=0)
    return np.asarray(np.maximum(2 * once - twice, _FOLDED_VARIANCE * once))


def _slope_variance(units: Units, n0: IntArray) -> Floats:
    """Return the variance (P,) of `rd_at` if it were linear in the images, from the effect of one image of each kind.

    An image of each kind is taken away where there is one, else added. All values are at one n0 that is possible with
    one image fewer.
    """
    kinds, odds = smoothed(units.kinds, units.times)
    odds = odds / odds.sum(axis=1, keepdims=True)
    counts, images = units.counts, units.times.sum(axis=1)[:, None]
    # Which prompts have an image of each of the smoothed kinds, (P, T').
    present = ((kinds[:, None] == units.kinds).all(axis=2) @ units.times.T).T > 0
    n0 = np.clip(counts.sum(axis=1) - kinds.sum(axis=1).max(), 1, n0)
    now = rd_at(counts, n0)[:, None]
    fewer = rd_at(np.maximum(counts[:, None] - kinds, 0), n0[:, None])
    more = rd_at(counts[:, None] + kinds, n0[:, None])
    # Of adding or removing one image, times the number of images: the empirical influence function.
    influence = np.where(present, (images - 1) * (now - fewer), (images + 1) * (more - now))
    influence = np.nan_to_num(influence)  # no face would be left, and RD at one face is always 2/K
    centred = influence - (odds * influence).sum(axis=1, keepdims=True)
    return np.asarray((odds * centred**2).sum(axis=1) / images[:, 0])


def smoothed(kinds: IntArray, times: IntArray) -> tuple[IntArray, Floats]:
    """Return kinds (T', K) and weights (P, T') with the pseudo-faces of a task added, for errors that are never 0."""
    classes = kinds.shape[1]
    balanced = np.full((len(times), classes), _PSEUDO_FACES / max(len(times), 1) / classes)
    return merged(np.vstack([kinds, np.eye(classes, dtype=np.int64)]), np.hstack([times, balanced]))
