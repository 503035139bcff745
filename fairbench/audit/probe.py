"""Vision encoder: can a linear classifier read an attribute from its embeddings? (Liu et al. 2025, section on locating)

Standardised embeddings, multinomial logistic regression, predictions of images in folds that training did not use.
Beside it the same on shuffled labels: what the procedure finds where there is nothing to find.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairbench.audit.estimates import Estimate, Skipped, share
from fairbench.audit.groups import Attribute
from fairbench.audit.images import Codes
from fairbench.labelling.labeller import NOT_LABELLED
from fairbench.stats.estimands import Floats
from fairbench.types import FloatArray

FOLDS = 5
UNBALANCED = 1.2
"""A class with this many times its equal share makes a set unbalanced."""
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class PairProbe:
    """Accuracy and macro F1 of telling two classes apart, on the images of these two."""

    first: str
    second: str
    accuracy: Estimate
    macro_f1: Estimate


@dataclass(frozen=True, slots=True)
class AttributeProbe:
    """How well one attribute is read. chance: the share of the largest class. shuffled: accuracy on shuffled labels.

    recall: label -> share of its images that are read right. pairwise, pairwise_f1: the means over `pairs`, with
    percentiles of redraws of the images that all pairs share. balanced: whether no class is UNBALANCED.
    """

    attribute: str
    images: int
    chance: float
    accuracy: Estimate
    shuffled: Estimate
    macro_f1: Estimate
    recall: dict[str, Estimate]
    pairs: list[PairProbe]
    pairwise: Estimate
    pairwise_f1: Estimate
    balanced: bool


def probe(embeddings: FloatArray, codes: Codes, attribute: Attribute, seed: int) -> AttributeProbe | Skipped:
    """Probe embeddings (images, hidden) for one attribute; `codes` (images,), NOT_LABELLED left out."""
    labelled = codes != NOT_LABELLED
    x, y = np.asarray(embeddings, dtype=np.float64)[labelled], codes[labelled]
    class_sizes = np.bincount(y, minlength=len(attribute.labels))
    if class_sizes.min() < FOLDS:
        label = attribute.labels[int(class_sizes.argmin())]
        return Skipped(f"{attribute.name}: {class_sizes.min()} probe images show {label!r}, {FOLDS} folds need {FOLDS}")
    if not np.isfinite(x).all():
        return Skipped("the embeddings are not finite numbers")
    predicted = _out_of_fold(x, y, seed)
    shuffled = np.random.default_rng([seed, 1]).permutation(y)
    classes = range(len(attribute.labels))
    couples = list(itertools.combinations(classes, 2))
    couple_predictions = np.full((len(couples), len(y)), NOT_LABELLED)
    for predictions, couple in zip(couple_predictions, couples, strict=True):
        rows = np.isin(y, couple)
        predictions[rows] = predicted if len(classes) == 2 else _out_of_fold(x[rows], y[rows], seed)
    pairs, accuracy, f1 = pairwise(y, couple_predictions, couples, attribute.labels, seed)
    return AttributeProbe(
        attribute.name,
        len(y),
        chance=float(class_sizes.max() / len(y)),
        accuracy=_hits(predicted, y),
        shuffled=_hits(_out_of_fold(x, shuffled, seed), shuffled),
        macro_f1=macro_f1(y, predicted, len(classes), seed),
        recall={attribute.labels[k]: _hits(predicted[y == k], k) for k in classes},
        pairs=pairs,
        pairwise=accuracy,
        pairwise_f1=f1,
        balanced=bool(class_sizes.max() * len(classes) <= UNBALANCED * len(y)),
    )


def _hits(predicted: Codes, y: Codes | int) -> Estimate:
    return share(int((predicted == y).sum()), len(predicted), design="other images")


def _out_of_fold(x: FloatArray, y: Codes, seed: int) -> Codes:
    """Return out-of-fold predictions (images,)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return np.asarray(cross_val_predict(classifier, x, y, cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed)))


def pairwise(
    y: Codes, predictions: Codes, couples: Sequence[tuple[int, int]], labels: Sequence[str], seed: int
) -> tuple[list[PairProbe], Estimate, Estimate]:
    """Return every pair's accuracy and macro F1, and their means over pairs.

    y: (images,). predictions: (pairs, images), one of the pair's classes for each of its images. Intervals of F1 and of
    the means are percentiles of 1000 redraws of the images, which keep together that an image is in several pairs.
    """
    # (images, pairs, 4): an image's cell in each pair's 2 x 2 confusion; all 0 where it is of neither class.
    cells = np.zeros((len(y), len(couples), 4), dtype=np.int64)
    for k, (i, j) in enumerate(couples):
        rows = np.flatnonzero((y == i) | (y == j))
        cells[rows, k, 2 * (y[rows] == j) + (predictions[k, rows] == j)] = 1
    tables = _redrawn(cells, seed)
    # Every redraw's tables in one list, so that each figure is computed once: (1 + 1000, pairs).
    flat = tables.reshape(-1, 4)
    shares_right = (flat[:, 0] + flat[:, 3]) / np.maximum(flat.sum(axis=1), 1)
    accuracy, f1 = (figure.reshape(len(tables), -1) for figure in (shares_right, _f1(flat, 2)))
    pairs = []
    for k, (i, j) in enumerate(couples):
        hits, n = int(tables[0, k, [0, 3]].sum()), int(tables[0, k].sum())
        pairs.append(PairProbe(labels[i], labels[j], share(hits, n, design="other images"), _percentiles(f1[:, k], n)))
    return pairs, _percentiles(accuracy.mean(axis=1), len(y)), _percentiles(f1.mean(axis=1), len(y))


def _redrawn(cells: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the sums over images, (1 + 1000, pairs, 4): of the images as they are, then drawn again."""
    n, rng = len(cells), np.random.default_rng([seed, 3])
    flat = cells.reshape(n, -1).astype(np.float64)  # a product of floats is many times as fast
    # In ten parts: all weights at once, (1000, images), would take ten times the memory.
    parts = [rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES // 10) @ flat for _ in range(10)]
    sums = np.concatenate([flat.sum(axis=0)[None], *parts])
    return np.asarray(sums.reshape(-1, *cells.shape[1:]).round().astype(np.int64))


def _percentiles(values: Floats, n: int) -> Estimate:
    """Return the first value with percentiles of the others.

    Where every image is read right (or wrong), redraws do not differ, which is no certainty: then with Jeffreys' limits
    of n images of n (or none).
    """
    if values[0] in (0.0, 1.0):
        return share(int(values[0]) * n, n, design="other images")
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high), n, "other images")


def macro_f1(y: Codes, predicted: Codes, classes: int, seed: int) -> Estimate:
    """Return the mean over classes of F1, 2 tp / (true + predicted), with percentiles of 1000 redraws of the images."""
    confusion = np.bincount(y * classes + predicted, minlength=classes**2)
    redrawn = np.random.default_rng([seed, 2]).multinomial(len(y), confusion / len(y), size=_RESAMPLES)
    return _percentiles(_f1(np.concatenate([confusion[None], redrawn]), classes), len(y))


def _f1(confusion: NDArray[np.int64], classes: int) -> Floats:
    """Return macro F1 (tables,) of flattened confusion tables (tables, classes^2)."""
    tables = confusion.reshape(-1, classes, classes)
    true_and_predicted = tables.sum(axis=1) + tables.sum(axis=2)
    right = np.diagonal(tables, axis1=1, axis2=2)
    return np.asarray((2 * right / np.maximum(true_and_predicted, 1)).mean(axis=1))
