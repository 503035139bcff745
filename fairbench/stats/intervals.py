"""Intervals of task means, above all of `concentration`, in both scopes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from scipy.special import ndtri

from fairbench.stats import gaffke
from fairbench.stats.bounds import concentration_bounds
from fairbench.stats.estimands import (
    Floats,
    IntArray,
    concentration_of_shares,
    concentration_variance,
    task_mean,
)
from fairbench.stats.units import Data, as_units, merged

Scope = Literal["this list", "other prompts"]
"""What a claim is about: the prompts that were asked and no others (fixed: only the images are a sample), or all
prompts of which they could be a random sample."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
FEWEST_OF_ONE_PROMPT: Final = 20
"""Images that show several faces each, from which on one prompt alone has an interval."""
_SEED = 1927
Z_95 = float(ndtri(0.975))
FEWEST_IMAGES: Final = 4
"""Images with a face that a variance of `concentration` takes."""
PSEUDO_IMAGES = 3.0
"""Images, balanced over the classes, that a task as a whole is given when its error is computed, in the spirit of
Agresti and Coull (1998, who add four): images that all show one class must not have an error of 0."""


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
    """Values (P,) and the variances (P,) that the draw of images gives them; both NaN where faces are too few.

    upper_variance: (P,), the variances if the truth were as large as the upper limit of the task mean; None: the same.
    """

    value: Floats
    variance: Floats
    upper_variance: Floats | None = None


def concentration_interval(data: Data, scope: Scope) -> Interval:
    """Return the interval of the task mean of `concentration`; the estimate is unbiased and not clipped at 0.

    Of one prompt whose images show one face each, the limits invert the exact test (`bounds.concentration_bounds`),
    whose probabilities are Monte Carlo from a fixed seed for K > 2; the lower one is not above a negative estimate.
    Of one prompt whose images show several, there are none below `FEWEST_OF_ONE_PROMPT` images.
    """
    values, units = concentration_of_prompts(data), as_units(data)
    lowest = -np.inf if scope == "this list" else lowest_concentration(units)
    interval = interval_of(values, scope, 0.95, lowest, 1.0)
    (used,) = np.nonzero(~np.isnan(values.value))
    if scope == "other prompts" or len(used) != 1:
        return interval
    if not units.several:
        (low,), (high,) = concentration_bounds(units.counts[used], np.random.default_rng(_SEED))
        return replace(interval, low=min(float(low), interval.estimate), high=float(high))
    if units.times[used].sum() < FEWEST_OF_ONE_PROMPT:
        return replace(interval, low=float("nan"), high=float("nan"), error=float("nan"))
    return interval


def lowest_concentration(data: Data) -> float:
    """Return the lowest value that the unbiased estimate of `concentration` can have in any of these prompts.

    -1/(n - 1) for n images with one face each, but not below -1/(K - 1); of several faces, n is (sum s)^2 / sum s^2
    for images with s faces. Prompts that have no estimate do not count; 0 where none has one.
    """
    units = as_units(data)
    sizes, enough = units.kinds.sum(axis=1), units.times.sum(axis=1) >= FEWEST_IMAGES
    if not enough.any():
        return 0.0
    times = units.times[enough]
    images = (times @ sizes) ** 2 / (times @ sizes**2)
    return float(max(-1 / (images.min() - 1), -1 / (units.kinds.shape[1] - 1)))


def interval_of(
    values: PromptValues, scope: Scope, confidence: float = 0.95, lowest: float = -np.inf, highest: float = np.inf
) -> Interval:
    """Return the interval around the mean of prompt values.

    This list: normal, from the variances of the images, cut at [lowest, highest], the range of the estimand. Other
    prompts: Gaffke's, from the values alone, in [lowest, highest], the range of the *values*, and none below
    `gaffke.FEWEST` of them. Raises ValueError where values for other prompts lie outside that range.
    """
    estimate, used, left_out = task_mean(values.value)
    if used < (gaffke.FEWEST if scope == "other prompts" else 1):
        nan = float("nan")
        return Interval(estimate, nan, nan, nan, used, left_out)
    if scope == "other prompts":
        present = values.value[~np.isnan(values.value)]
        low, high = (float(limit) for limit in gaffke.mean_interval(present, lowest, highest, confidence))
        return Interval(estimate, low, high, float(present.std(ddof=1) / np.sqrt(used)), used, left_out)
    upwards = values.variance if values.upper_variance is None else values.upper_variance
    error, up = (float(np.sqrt(np.nansum(variance)) / used) for variance in (values.variance, upwards))
    quantile = float(ndtri((1 + confidence) / 2))
    low, high = max(estimate - quantile * error, lowest), min(estimate + quantile * up, highest)
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

    Where the estimate is too small by chance, so is its variance, and an upper limit that rests on it is too low as
    well. As in Wilson's interval of a share (1927), the variance for the upper limit is that at the limit.
    """
    units = as_units(data)
    prompts, classes = len(units.times), units.kinds.shape[1]
    enough = units.times.sum(axis=1) >= FEWEST_IMAGES
    kinds, times = units.kinds, units.times[enough]
    value, variance = np.full(prompts, np.nan), np.full(prompts, np.nan)
    value[enough] = (classes * sum_of_squares(kinds, times)[0] - 1) / (classes - 1)
    variance[enough] = _concentration_variance(*smoothed(kinds, times)) * (classes / (classes - 1)) ** 2
    upper = variance.copy()
    if enough.any():
        upper[enough] = upper_variance(value[enough], variance[enough], kinds, times)
    return PromptValues(value, variance, upper)


def stated_variance(counts: IntArray, prompts: int) -> Floats:
    """Return the variances (...) that `concentration_of_prompts` states for prompts of a task of so many.

    counts: (..., K), four or more images with one face each.
    """
    classes = counts.shape[-1]
    weights = (counts + PSEUDO_IMAGES / prompts / classes).reshape(-1, classes)
    variance = _concentration_variance(np.eye(classes, dtype=np.int64), weights) * (classes / (classes - 1)) ** 2
    return np.asarray(variance.reshape(counts.shape[:-1]))


def upper_variance(value: Floats, variance: Floats, kinds: IntArray, times: IntArray) -> Floats:
    """Return the variances (P,) of `concentration` if its task mean were at the upper limit that `variance` gives.

    The shares are moved away from balance, all prompts alike, until their mean concentration is that limit; the
    variances are those of as many independent faces as these images are worth. The limit is not below 0.
    """
    counts, classes = times @ kinds, kinds.shape[1]
    faces = counts.sum(axis=1)
    smooth = (counts + 0.5) / (faces + 0.5 * classes)[:, None]
    away = smooth - 1 / classes
    if not away.any():  # all in balance: any way leads away from it
        away = np.eye(classes)[:1] - 1 / classes
    limit = value.mean() + Z_95 * np.sqrt(variance.sum()) / len(value)
    scale = max(1.0, np.sqrt(np.clip(limit, 0, 1) / concentration_of_shares(1 / classes + away).mean()))
    moved = np.maximum(1 / classes + scale * away, 0.0)
    moved /= moved.sum(axis=1, keepdims=True)
    upper = np.maximum(variance, concentration_variance(moved, _independent_faces(kinds, times, smooth)))
    least = max(0.0, -value.sum() / Z_95) ** 2
    return np.asarray(upper * max(1.0, least / upper.sum()))


def _independent_faces(kinds: IntArray, times: IntArray, p: Floats) -> Floats:
    """Return how many independent faces (P,) the images are worth, with shares p (P, K): fewer where faces are alike.

    With s faces per image of which pairs agree more often than by chance, by the share rho of what they could, faces
    are worth 1 / (1 + (s - 1) rho) of themselves (the design effect, Kish 1965). rho is pooled over the prompts.
    """
    sizes = kinds.sum(axis=1)
    faces, pairs = times @ sizes, times @ (sizes * (sizes - 1))
    by_chance = (p**2).sum(axis=1)
    possible = (pairs * (1 - by_chance)).sum()
    beyond = (times @ (kinds * (kinds - 1)).sum(axis=1) - pairs * by_chance).sum()
    rho = np.clip(beyond / possible, 0, 1) if possible else 0.0
    return np.asarray(faces / (1 + pairs / faces * rho))


def sum_of_squares(kinds: IntArray, times: Floats | IntArray) -> tuple[Floats, Floats]:
    """Return sum p_k^2 (P,) over pairs of faces from different images, and the number of such pairs (P,)."""
    sizes = kinds.sum(axis=1)
    pairs = (times @ sizes) ** 2 - times @ sizes**2
    same = ((times @ kinds) ** 2).sum(axis=1) - times @ (kinds**2).sum(axis=1)
    return same / pairs, pairs


def _concentration_variance(kinds: IntArray, times: Floats) -> Floats:
    """Return the variance (P,) of `sum_of_squares`; `times` (P, T) need not be whole numbers.

    At balance the unbiased estimate is often too small, even negative, so it never falls below the part that
    remains there, 2 E g^2 / (m (m - 1)).
    """
    theta, pairs = sum_of_squares(kinds, times)
    sizes = kinds.sum(axis=1)
    by_size = kinds * sizes[:, None]
    # Products of two images' kernels are inner products of these, so that sums over pairs are squared lengths of sums.
    same = (kinds[:, :, None] * kinds[:, None, :]).reshape(len(kinds), -1)

    def over_pairs(factor: IntArray) -> Floats:
        """Return the sum (P,) of inner products of the rows of a factor (T, F), over ordered pairs of images."""
        return np.asarray(((times @ factor) ** 2).sum(axis=1) - times @ (factor**2).sum(axis=1))

    # r_i of each kind (P, T), and the sum of g_ij^2, with g = same - theta every multiplied out.
    same_row = (times @ kinds) @ kinds.T - (kinds**2).sum(axis=1)
    row = same_row - theta[:, None] * ((times @ sizes)[:, None] * sizes - sizes**2)
    squares = over_pairs(same) - 2 * theta * over_pairs(by_size) + theta**2 * over_pairs(sizes[:, None] ** 2)
    m = times.sum(axis=1)
    variance = (4 * (times * row**2).sum(axis=1) - 2 * squares) * m * (m - 1) / ((m - 2) * (m - 3) * pairs**2)
    return np.asarray(np.maximum(variance, 2 * squares / pairs**2))


def smoothed(kinds: IntArray, times: IntArray) -> tuple[IntArray, Floats]:
    """Return kinds (T', K) and weights (P, T') with the pseudo-images of a task added, for errors that are never 0.

    They show one face each; where images show several, as many of one class as there are on average.
    """
    classes, images = kinds.shape[1], times.sum()
    balanced = np.full((len(times), classes), PSEUDO_IMAGES / max(len(times), 1) / classes)
    size = max(1, round(float((times @ kinds).sum() / images))) if images else 1
    return merged(np.vstack([kinds, size * np.eye(classes, dtype=np.int64)]), np.hstack([times, balanced]))
