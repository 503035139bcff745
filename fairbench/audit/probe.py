"""Vision encoder: can a linear classifier read an attribute from its embeddings? (Liu et al. 2025, section on locating)

Standardised embeddings, multinomial logistic regression, predictions on folds that training did not see. Beside it the
same on shuffled labels: what the procedure finds where there is nothing to find.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairbench.audit.estimates import Estimate, Skipped, share
from fairbench.audit.groups import Attribute
from fairbench.audit.images import NOBODY, Codes
from fairbench.errors import MissingExtra
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
    """What can be read of one attribute. chance: the share of the largest class. shuffled: accuracy on shuffled labels.

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


def need_sklearn() -> None:
    """Raise MissingExtra where scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as err:
        raise MissingExtra("The probe of the vision encoder", "audit") from err


def probe(embeddings: FloatArray, codes: Codes, attribute: Attribute, seed: int) -> AttributeProbe | Skipped:
    """Probe embeddings (images, hidden) for one attribute; `codes` (images,), NOBODY left out."""
    known = codes != NOBODY
    x, y = np.asarray(embeddings, dtype=np.float64)[known], codes[known]
    least = np.bincount(y, minlength=len(attribute.labels))
    if least.min() < FOLDS:
        label = attribute.labels[int(least.argmin())]
        return Skipped(f"{attribute.name}: {least.min()} probe images show {label!r}, {FOLDS} folds need {FOLDS}")
    if not np.isfinite(x).all():
        return Skipped("the embeddings are not finite numbers")
    read, control = _folds(x, y, seed), np.random.default_rng([seed, 1]).permutation(y)
    classes = range(len(attribute.labels))
    recall = {attribute.labels[k]: share(int((read[y == k] == k).sum()), int((y == k).sum())) for k in classes}
    couples = list(itertools.combinations(classes, 2))
    guesses = np.full((len(couples), len(y)), NOBODY)
    for guess, couple in zip(guesses, couples, strict=True):
        rows = np.isin(y, couple)
        guess[rows] = read if len(classes) == 2 else _folds(x[rows], y[rows], seed)
    pairs, accuracy, f1 = pairwise(y, guesses, couples, attribute.labels, seed)
    return AttributeProbe(
        attribute.name, len(y), float(least.max() / len(y)), share(int((read == y).sum()), len(y)),
        share(int((_folds(x, control, seed) == control).sum()), len(y)), macro_f1(y, read, len(classes), seed), recall,
        pairs, accuracy, f1, bool(least.max() * len(classes) <= UNBALANCED * len(y)),
    )  # fmt: skip


def pairwise(
    y: Codes, guesses: Codes, couples: Sequence[tuple[int, int]], labels: Sequence[str], seed: int
) -> tuple[list[PairProbe], Estimate, Estimate]:
    """Return every pair's accuracy and macro F1, and their means over pairs.

    y: (images,). guesses: (pairs, images), one of the pair's classes for each of its images. Intervals of F1 and of the
    means are percentiles of 1000 redraws of the images: an image is in several pairs.
    """
    # (images, pairs, 4): in which cell of a pair's confusion an image stands; all 0 where it is not of the pair.
    cells = np.zeros((len(y), len(couples), 4), dtype=np.int64)
    for k, (i, j) in enumerate(couples):
        rows = np.flatnonzero((y == i) | (y == j))
        cells[rows, k, 2 * (y[rows] == j) + (guesses[k, rows] == j)] = 1
    tables = _redrawn(cells, seed)
    flat = tables.reshape(-1, 4)
    right, f1 = (figure.reshape(len(tables), -1) for figure in (_accuracy(flat), _f1(flat, 2)))
    pairs = []
    for k, (i, j) in enumerate(couples):
        hits, n = int(tables[0, k, [0, 3]].sum()), int(tables[0, k].sum())
        pairs.append(PairProbe(labels[i], labels[j], share(hits, n), _spread(f1[:, k], n)))
    return pairs, _spread(right.mean(axis=1), len(y)), _spread(f1.mean(axis=1), len(y))


def _redrawn(cells: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the sums over images, (1 + 1000, pairs, 4): of the images as they are, then drawn again."""
    n, rng = len(cells), np.random.default_rng([seed, 3])
    flat = cells.reshape(n, -1).astype(np.float64)  # a product of floats is many times as fast
    parts = [rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES // 10) @ flat for _ in range(10)]
    drawn = np.concatenate([flat.sum(axis=0)[None], *parts])
    return np.asarray(drawn.reshape(-1, *cells.shape[1:]).round().astype(np.int64))


def _spread(values: Floats, n: int) -> Estimate:
    """Return the first value with the percentiles of the others.

    Where nothing was read wrong (or right), redraws do not differ, which is no certainty: then with Jeffreys' limits of
    n images of n (or none).
    """
    if values[0] in (0.0, 1.0):
        return share(int(values[0]) * n, n)
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high), n)


def _folds(x: FloatArray, y: Codes, seed: int) -> Codes:
    """Return out-of-fold predictions (images,)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return np.asarray(
        cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), x, y, cv=folds)
    )


def macro_f1(y: Codes, read: Codes, classes: int, seed: int) -> Estimate:
    """Return the mean over classes of F1, 2 tp / (true + read), with percentiles of 1000 redraws of the images."""
    confusion = np.bincount(y * classes + read, minlength=classes**2)
    drawn = np.random.default_rng([seed, 2]).multinomial(len(y), confusion / len(y), size=_RESAMPLES)
    return _spread(_f1(np.concatenate([confusion[None], drawn]), classes), len(y))


def _accuracy(confusion: NDArray[np.int64]) -> Floats:
    return np.asarray((confusion[:, 0] + confusion[:, 3]) / np.maximum(confusion.sum(axis=1), 1))


def _f1(confusion: NDArray[np.int64], classes: int) -> Floats:
    tables = confusion.reshape(-1, classes, classes)
    total = tables.sum(axis=1) + tables.sum(axis=2)
    right = np.diagonal(tables, axis1=1, axis2=2)
    return np.asarray((2 * right / np.maximum(total, 1)).mean(axis=1))
