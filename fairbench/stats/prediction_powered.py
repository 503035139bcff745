"""Estimates from a sample of images that people labelled, and from the labeller's reading of all of them.

With x_i what people say of image i (one of K unit vectors, 0 where nobody is shown), f_i what its reading predicts and
d = x - f, a prompt's total over its N images is estimated by T = sum_i f_i + sum_h N_h mean_h(d), the means over the
labelled images of its strata h (difference estimator: Cochran, Sampling Techniques, 1977, chapter 7; in the form of
prediction-powered inference: Angelopoulos et al., Science 382, 2023). T is unbiased however wrong the predictions are,
as long as they do not depend on which images were labelled (`prediction`). Its design variance
V = sum_h N_h (N_h - n_h) S_h / n_h is estimated without bias from the labelled images' covariance S_h.

Concentration needs |mean x|^2. T'T is too large by the design variance and by what single images contribute, so

    (T'T - trace V - sum T) / (N (N - 1))

is unbiased for it, under the draw of the labels and of the images. Written out for a simple random sample, it is the
U-statistic of the readings + 2 <mean reading, mean d> + the U-statistic of d. Where some images show nobody, it is
divided by the same with the number of people in place of x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fairbench.stats.intervals import Interval
from fairbench.stats.prediction import LabelledSample
from fairbench.types import FloatArray

BoolArray = NDArray[np.bool_]

_PSEUDO_IMAGES: Final = 3.0
"""Images of the task that count as predicted wrong at random when an error is computed, as in `intervals`: labels that
all agree with the predictions must not have an error of 0."""
_MIN_IMAGES: Final = 4
_MIN_CERTAINTY: Final = 3.0
"""Standard errors by which the share of images that show people must lie above 0, for shares are divided by it. Those
are of as many independent labels: an error that few labels happen to give would leave out prompts by chance."""
_Z_95: Final = float(ndtri(0.975))


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """The estimated numbers of images of every prompt, in K + 1 columns: the K classes, and the undecided.

    images (..., P): N. total (..., P, K + 1): T. design (..., P, K + 1, K + 1): V. covariance, of that shape: of T/N
    under the draw of the labels and of the images, with the pseudo-images. usable (..., P): whether every stratum has
    two labelled images, or all of its images labelled, and the prompt shows people.
    """

    images: FloatArray
    total: FloatArray
    design: FloatArray
    covariance: FloatArray
    usable: BoolArray


class Values(NamedTuple):
    """Prompt values (..., P); NaN where a prompt is not usable.

    slope (..., P, K + 1): by the shares T/N; curvature (..., P, K + 1, K + 1): half of the second derivative. linear:
    the variance (..., P) that the slope gives; quadratic: what is left of it where the slope is 0.
    """

    value: FloatArray
    slope: FloatArray
    curvature: FloatArray
    linear: FloatArray
    quadratic: FloatArray


def totals(sample: LabelledSample, predicted: FloatArray, *, alone: bool = False) -> Totals:
    """Return the estimated totals.

    predicted (..., P, K + 1, K + 1): see `predictions`. alone: by the labels of people alone, as if nothing were
    predicted; predictions then serve for the error.
    """
    k, n, sizes = sample.classes, sample.counts, sample.sizes
    used = np.zeros_like(predicted) if alone else predicted
    factor = sizes * (sizes - n) / np.maximum(n, 1)
    mean, spread = _labelled_moments(sample, used)
    design = (factor[..., None, None] * spread).sum(axis=-3)
    total = (sample.images.sum(axis=-2)[..., None, :] @ used)[..., 0, :] + (sizes[..., None] * mean).sum(axis=-2)

    images = sizes.sum(axis=-1).astype(np.float64)
    n_images = np.maximum(images, 1)[..., None, None]
    shares = total / n_images[..., 0]
    drawn = shares[..., None] * np.eye(k + 1) - shares[..., :, None] * shares[..., None, :]
    covariance = drawn / n_images + _error_of_labels(sample, predicted, used, design) / n_images**2

    people = shares[..., :k].sum(axis=-1)
    certain = people**2 * n.sum(axis=-1) > _MIN_CERTAINTY**2 * people * (1 - people)
    sampled = ((n > 1) | (n == sizes)).all(axis=-1) & (n.sum(axis=-1) > 1)
    usable = sampled & (people > 0) & certain & (images >= _MIN_IMAGES)
    return Totals(images, total, design, covariance, usable)


def _labelled_moments(sample: LabelledSample, used: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean (..., P, H, K + 1) and unbiased covariance (..., P, H, K + 1, K + 1) of d in every stratum."""
    k, n = sample.classes, sample.counts
    # d of every pair of what is said and what is read, (..., P, 1, pairs, K + 1), and the share of labels that are it.
    said = np.vstack([np.eye(k + 1), np.zeros(k + 1)])
    d = said[:, None] - used[..., None, :, :]
    d = d.reshape(*d.shape[:-3], 1, -1, k + 1)
    weight = sample.labelled.reshape(*n.shape, -1) / np.maximum(n, 1)[..., None]
    mean = (weight[..., None, :] @ d)[..., 0, :]
    spread = np.swapaxes(d, -1, -2) @ (weight[..., None] * d) - mean[..., :, None] * mean[..., None, :]
    return mean, spread * (n / np.maximum(n - 1, 1))[..., None, None]


def _error_of_labels(sample: LabelledSample, predicted: FloatArray, used: FloatArray, design: FloatArray) -> FloatArray:
    """Return the design covariance of T for errors: pooled over prompts, with the pseudo-images.

    Of few labels, a prompt's own covariance is large where its estimate is low, and 0 where all labels agree, so that
    intervals from it cover too rarely (.82 to .90 by people alone). What the predictions say of it does not depend on
    the prompt's labels; its size is that of the labels' own covariance in all prompts together. Where predictions are
    used, errors that depend on the prompt are seen in its labels alone, and the mean of both is taken.
    """
    k, n, sizes = sample.classes, sample.counts, sample.sizes
    factor = sizes * (sizes - n) / np.maximum(n, 1)
    read = sample.images / np.maximum(sizes, 1)[..., None]
    off = predicted - used
    mean = read @ off
    # For a given reading, labels vary as one draw from what is predicted.
    of_reading = predicted[..., None] * np.eye(k + 1) + off[..., :, None] * off[..., None, :]
    of_reading -= predicted[..., :, None] * predicted[..., None, :]
    spread = (read @ of_reading.reshape(*of_reading.shape[:-2], -1)).reshape(*read.shape[:-1], k + 1, k + 1)
    spread -= mean[..., :, None] * mean[..., None, :]
    expected = (factor[..., None, None] * spread).sum(axis=-3)
    weight = 1 / np.maximum(sizes.sum(axis=-1), 1) ** 2
    seen, said = ((weight * np.trace(v[..., :k, :k], axis1=-2, axis2=-1)).sum(axis=-1) for v in (design, expected))
    size = np.divide(seen, said, out=np.zeros(seen.shape), where=said > 0)
    pooled = size[..., None, None, None] * expected
    wrong = np.zeros((k + 1, k + 1))  # the covariance of d where label and prediction are independent and even
    wrong[:k, :k] = 2 * (np.eye(k) / k - 1 / k**2)
    labels = np.maximum(n.sum(axis=(-1, -2)), 1)[..., None]
    floor = (_PSEUDO_IMAGES * factor.sum(axis=-1) / labels)[..., None, None] * wrong
    return np.asarray(floor + ((design + pooled) / 2 if used.any() else pooled))


def concentration_of(estimated: Totals, undecided: FloatArray | None = None) -> Values:
    """Return concentration, (K sum p^2 - 1)/(K - 1), among the people shown, of every prompt.

    undecided (..., P, K): the group to which undecided images are given, as shares; None: they are left out. Not
    clipped, so that means over prompts are unbiased.
    """
    pairs, every = _pairs(estimated, undecided)
    return _concentration(estimated, pairs, every, undecided)


def pooled_concentration_of(estimated: Totals) -> Values:
    """Return the concentration of all prompts' people together, (..., 1): each person weighs the same."""
    used = estimated.usable
    n = np.where(used, estimated.images, 0)
    total = np.where(used[..., None], estimated.total, 0)
    # Of images of different prompts all pairs count; of one prompt's, their mean over different images, N^2 times.
    same, every = (np.where(used, x * n / np.maximum(n - 1, 1), 0).sum(axis=-1) for x in _pairs(estimated, None))
    together, classes = total.sum(axis=-2), total[..., :-1]
    pairs = (together[..., :-1] ** 2).sum(axis=-1) - (classes**2).sum(axis=(-1, -2)) + same
    all_pairs = together[..., :-1].sum(axis=-1) ** 2 - (classes.sum(axis=-1) ** 2).sum(axis=-1) + every
    images = n.sum(axis=-1)
    weight = (n / np.maximum(images, 1)[..., None])[..., None, None]
    covariance = (weight**2 * np.where(used[..., None, None], estimated.covariance, 0)).sum(axis=-3)
    whole = Totals(
        images[..., None],
        together[..., None, :],
        estimated.design[..., :1, :, :],
        covariance[..., None, :, :],
        np.asarray(used.any(axis=-1))[..., None],
    )
    return _concentration(whole, pairs[..., None], all_pairs[..., None], None)


def share_of(estimated: Totals, k: int) -> Values:
    """Return class k's share among the people shown, of every prompt; k = K: the undecided among all images."""
    classes = estimated.total.shape[-1] - 1
    shares = estimated.total / np.maximum(estimated.images, 1)[..., None]
    unit = np.eye(classes + 1)[k]
    if k == classes:
        value, slope = shares[..., k], np.broadcast_to(unit, shares.shape)
    else:
        shown = np.where(estimated.usable, shares[..., :classes].sum(axis=-1), np.nan)
        value = shares[..., k] / shown
        slope = (unit - value[..., None] * (np.arange(classes + 1) < classes)) / shown[..., None]
    value = np.where(estimated.usable, value, np.nan)
    linear = _quadratic_form(slope, estimated.covariance)
    return Values(value, slope, np.zeros(estimated.covariance.shape), linear, np.zeros(linear.shape))


def mean_interval(values: Values, highest: float = 1.0) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the mean over usable prompts, its 95 % limits, cut at `highest`, and its standard error, each (...).

    For this list of prompts: only labels and images are random. NaN where no prompt is usable.
    """
    used = ~np.isnan(values.value)
    prompts = np.where(used.any(axis=-1), used.sum(axis=-1), np.nan)
    estimate = np.where(used, values.value, 0).sum(axis=-1) / prompts
    linear, quadratic = (np.where(used, v, 0).sum(axis=-1) for v in (values.linear, values.quadratic))
    # The noise of T makes its slope too steep: that part of `linear` is twice `quadratic`, of which once belongs there.
    error = np.sqrt(np.maximum(linear - quadratic, quadratic)) / prompts
    low, high = estimate - _Z_95 * error, estimate + _Z_95 * error
    return estimate, np.minimum(low, highest), np.minimum(high, highest), error


def interval(values: Values, highest: float = 1.0) -> Interval:
    """Return `mean_interval` of one task, values (P,), as an Interval."""
    estimate, low, high, error = (float(x) for x in mean_interval(values, highest))
    missing = int(np.isnan(values.value).sum())
    return Interval(estimate, low, high, error, values.value.size - missing, missing)


def _given(estimated: Totals, undecided: FloatArray | None) -> FloatArray:
    classes = estimated.total.shape[-1] - 1
    return np.zeros(classes) if undecided is None else undecided


def _pairs(estimated: Totals, undecided: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return the numbers of ordered pairs of different images that show one class, and that show people, (..., P)."""
    given = _given(estimated, undecided)
    to_class = _to_class(given)
    total = (estimated.total[..., None, :] @ to_class)[..., 0, :]
    design = np.swapaxes(to_class, -1, -2) @ estimated.design @ to_class
    # What an image paired with itself adds to T'T: 1 for a class, the squared length of what it was given to.
    decided, open_ = estimated.total[..., :-1].sum(axis=-1), estimated.total[..., -1]
    alone = decided + (given**2).sum(axis=-1) * open_
    alone_in_size = decided + given.sum(axis=-1) ** 2 * open_
    pairs = (total**2).sum(axis=-1) - np.trace(design, axis1=-2, axis2=-1) - alone
    every = total.sum(axis=-1) ** 2 - design.sum(axis=(-1, -2)) - alone_in_size
    return pairs, every


def _to_class(given: FloatArray) -> FloatArray:
    """Return the matrix (..., K + 1, K) that takes classes as they are, and gives the undecided to `given`."""
    k = given.shape[-1]
    kept = np.broadcast_to(np.eye(k), (*given.shape[:-1], k, k))
    return np.concatenate([kept, given[..., None, :]], axis=-2)


def _concentration(estimated: Totals, pairs: FloatArray, every: FloatArray, undecided: FloatArray | None) -> Values:
    """Return the values of concentration from the sums over pairs, with their variance by the delta method."""
    to_class = _to_class(_given(estimated, undecided))
    k = to_class.shape[-1]
    ok = estimated.usable & (every > 0)
    shares = (estimated.total[..., None, :] @ to_class)[..., 0, :] / np.maximum(estimated.images, 1)[..., None]
    shown = np.where(ok, shares.sum(axis=-1), np.nan)[..., None]
    covariance = np.swapaxes(to_class, -1, -2) @ estimated.covariance @ to_class
    simpson = np.where(ok, pairs / np.where(ok, every, 1), np.nan)
    # The bias of a ratio of two estimates, to second order.
    with_size = covariance.sum(axis=-1) / shown**2
    simpson = simpson + 4 * ((shares / shown * with_size).sum(axis=-1) - simpson * with_size.sum(axis=-1))
    scale = k / (k - 1)
    # The ratio |T|^2 / (sum T)^2: its derivative, and half of the second one but for terms that vanish with the first.
    slope = scale * 2 * (shares / shown - simpson[..., None]) / shown
    curvature = scale * (np.eye(k) - simpson[..., None, None]) / shown[..., None] ** 2
    curved = curvature @ covariance
    slope = (to_class @ slope[..., None])[..., 0]
    curvature = to_class @ curvature @ np.swapaxes(to_class, -1, -2)
    quadratic = 2 * (curved * np.swapaxes(curved, -1, -2)).sum(axis=(-1, -2))
    value = (k * simpson - 1) / (k - 1)
    return Values(value, slope, curvature, _quadratic_form(slope, estimated.covariance), quadratic)


def _quadratic_form(vector: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray((vector[..., None, :] @ matrix @ vector[..., None])[..., 0, 0])
