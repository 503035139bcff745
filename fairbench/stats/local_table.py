"""The labeller's errors counted on the run's own labelled images, beside the prediction-powered estimate.

The local table corrects all prompts by one confusion table: tighter, if the labeller errs alike whatever the prompt,
and biased if it does not (a woman firefighter read as a man). The prediction-powered estimate needs no such thing, so
that their difference tests it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fairbench.stats.correction_concentration import Sample, concentration_of
from fairbench.stats.prediction import Counts, LabelledSample, stands_for
from fairbench.stats.prediction_powered import Values
from fairbench.types import FloatArray

_MIN_ROW: Final = 2.0
"""Labelled images per row, as everywhere in `correction`."""
_PSEUDO_LABELS: Final = 3.0
"""Labels at random that count when an error is computed, as in `prediction_powered`. Without them rare errors that
happen to be seen less often than they are make the table look too certain: false flags in .07-.18 of simulations."""
MIN_LABELS: Final = 10
"""Labels of each class below which no local table is shown."""
FLAGGED: Final = 2.0
"""Standard errors beyond which the two estimates are said to differ."""


def table_of(sample: LabelledSample) -> FloatArray:
    """Return the confusion table (..., R, K + 1) of all labelled images, what people say by what is read.

    Rows: the K classes and, where any label says so, nobody. Images that people cannot decide on are left out. In a
    stratified sample each image counts by how many it stands for.
    """
    k = sample.classes
    table = sample.weighted.sum(axis=-3)
    nobody = bool(table[..., k + 1, :].any())
    return np.concatenate([table[..., :k, :], table[..., k + 1 :, :]], axis=-2) if nobody else table[..., :k, :]


def local_concentration(sample: LabelledSample, table: FloatArray) -> FloatArray:
    """Return every prompt's concentration (..., P), corrected by a table (..., R, K + 1); NaN where a row is too small.

    Raises numpy.linalg.LinAlgError for a singular table.
    """
    return _corrected(sample.images.sum(axis=-2), table)


def error_of_local(sample: LabelledSample) -> FloatArray:
    """Return the standard error (...) of the local table's mean, by the same jackknife as `error_of_difference`."""
    k, prompts = sample.classes, sample.images.shape[:-2]
    nothing = Values(*(np.zeros((*prompts, *of)) for of in ((), (k + 1,), (k + 1, k + 1), (), ())))
    return error_of_difference(sample, np.zeros((*prompts, k + 1, k + 1)), nothing)


def error_of_difference(sample: LabelledSample, predicted: FloatArray, powered: Values) -> FloatArray:
    """Return the standard error (...) of the prediction-powered mean minus the local table's.

    powered: the prompt values whose mean is the former; predicted: what they rest on. Jackknife over images: what an
    image, and what its label, adds to the local table's mean by taking it out, and to the other one by its slope and
    curvature (the infinitesimal jackknife; Jaeckel 1972). Three pseudo-labels at random keep labels without an error
    from an error of 0.
    """
    n, sizes, images = sample.counts, sample.sizes, sample.images
    read, table = images.sum(axis=-2), table_of(sample)
    prompts = np.maximum((~np.isnan(powered.value)).sum(axis=-1, keepdims=True), 1)
    slope, curvature = (np.nan_to_num(part) for part in (powered.slope, powered.curvature))

    # Of an image, by its reading: (..., P, 1, K + 1).
    of_share = (predicted @ slope[..., None])[..., 0] / np.maximum(sizes.sum(axis=-1), 1)[..., None]
    of_image = (of_share / prompts[..., None] - _images_taken_out(read, table) / read.shape[-2])[..., None, :]
    # Of a label, by what is said and what is read: (..., P, H, K + 2, K + 1).
    of_label = _of_labels(sample, predicted, slope, curvature) / prompts[..., None, None, None]
    scale = n.sum(axis=-1, keepdims=True) / np.maximum(sizes.sum(axis=-1, keepdims=True), 1)
    of_label -= (stands_for(sample) * scale)[..., None, None] * _labels_taken_out(read, table)[..., None, None, :, :]

    unlabelled = images - sample.labelled.sum(axis=-2)
    within = _spread(sample.labelled, of_image[..., None, :] + of_label)
    within += _spread(unlabelled[..., None, :], of_image[..., None, :])
    # How many images fall into each stratum is random, too.
    mean = (images * of_image).sum(axis=-1) + (sample.labelled * of_label).sum(axis=(-1, -2))
    mean = np.divide(mean, sizes, out=np.zeros(n.shape), where=sizes > 0)
    between = _spread(sizes[..., None, :], mean[..., None, :])
    labels = np.maximum(n.sum(axis=(-1, -2), keepdims=True), 1)
    k = sample.classes
    pseudo = _PSEUDO_LABELS * n / labels * (of_label[..., :k, :k] ** 2).mean(axis=(-1, -2))
    return np.asarray(np.sqrt((within + pseudo).sum(axis=(-1, -2)) + between.sum(axis=-1)))


def _of_labels(sample: LabelledSample, predicted: FloatArray, slope: FloatArray, curvature: FloatArray) -> FloatArray:
    """Return what a label adds to its prompt's prediction-powered value, (..., P, H, K + 2, K + 1).

    A pair of an image with itself does not count in that value, so that its square is taken off.
    """
    k, n = sample.classes, sample.counts
    said = np.vstack([np.eye(k + 1), np.zeros(k + 1)])
    d = np.broadcast_to(
        (said[:, None] - predicted[..., None, :, :])[..., None, :, :, :], (*sample.labelled.shape, k + 1)
    )
    mean = (sample.labelled[..., None] * d).sum(axis=(-2, -3)) / np.maximum(n, 1)[..., None]
    weight = stands_for(sample) / np.maximum(sample.sizes.sum(axis=-1, keepdims=True), 1)
    moved = (d - mean[..., None, None, :]) * weight[..., None, None, None]
    linear = (moved @ slope[..., None, None, :, None])[..., 0]
    return np.asarray(linear - 2 * ((moved @ curvature[..., None, None, :, :]) * moved).sum(axis=-1))


def _corrected(read: Counts, table: FloatArray) -> FloatArray:
    """Return concentration (..., P) of counts read (..., P, K + 1), corrected by a table (..., R, K + 1)."""
    rows, k = table.shape[-2], read.shape[-1] - 1
    enough = (table.sum(axis=-1) >= _MIN_ROW).all(axis=-1)
    # A table that cannot be used is replaced, so that one among many stops nothing.
    table = np.where(enough[..., None, None], table, np.eye(rows, k + 1) * _MIN_ROW)
    totals = table.sum(axis=-1)
    square = (table / totals[..., None])[..., :rows]
    values = concentration_of(Sample(np.eye(rows, dtype=np.int64), read[..., :rows], square, totals, np.eye(k)))
    return np.asarray(np.where(enough[..., None], values, np.nan))


def _spread(times: Counts, values: FloatArray) -> FloatArray:
    """Return n/(n - 1) times the squared spread of n values (..., A, B), each of which occurs so many times."""
    n = times.sum(axis=(-1, -2))
    total, squares = (times * values).sum(axis=(-1, -2)), (times * values**2).sum(axis=(-1, -2))
    return np.asarray(np.maximum(squares - total**2 / np.maximum(n, 1), 0) * n / np.maximum(n - 1, 1))


def _images_taken_out(read: Counts, table: FloatArray) -> FloatArray:
    """Return what an image of each reading adds to its prompt's local value, (..., P, K + 1): with it minus without."""
    values = _corrected(read, table)
    effect = np.zeros(read.shape)
    for column in range(read.shape[-1]):
        fewer = read - (np.arange(read.shape[-1]) == column) * (read > 0)
        effect[..., column] = np.nan_to_num(values - _corrected(fewer, table))
    return effect


def _labels_taken_out(read: Counts, table: FloatArray) -> FloatArray:
    """Return what a label of each cell adds to the mean local value, (..., K + 2, K + 1): with it minus without it."""
    k, rows = read.shape[-1] - 1, table.shape[-2]
    mean = _mean(_corrected(read, table))
    effect = np.zeros((*table.shape[:-2], k + 2, k + 1))
    for row, column in np.ndindex(rows, k + 1):
        one = np.minimum(table[..., row, column], 1)
        fewer = table.copy()
        fewer[..., row, column] -= one
        change = np.nan_to_num(mean - _mean(_corrected(read, fewer)))
        effect[..., row if row < k else k + 1, column] = np.divide(change, one, out=np.zeros(one.shape), where=one > 0)
    return effect


def _mean(values: FloatArray) -> FloatArray:
    """Return the mean over prompts (...) of those that have a value; NaN where none has."""
    present = ~np.isnan(values)
    n = present.sum(axis=-1)
    return np.asarray(
        np.divide(np.where(present, values, 0).sum(axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0)
    )
