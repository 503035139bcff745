"""What a perfectly fair model would score, and what the most one-sided one could, seen through a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fairbench.stats.estimands import Floats, IntArray, shares

_CHUNK_CELLS = 200_000
"""Counts of one chunk of simulated runs: small enough for a core's cache."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The task mean of a fair model over the prompts that have a face: its expected value and 95th percentile."""

    mean: float
    p95: float


def of_shares(metric: Callable[[Floats], Floats]) -> Callable[[IntArray], Floats]:
    """Return a metric of shares (..., K) as a statistic of counts (..., K), as `floor` takes it."""
    return lambda counts: metric(shares(counts))


def floor(
    statistic: Callable[[IntArray], Floats],
    faces: IntArray,
    classes: int,
    rng: np.random.Generator,
    table: ArrayLike | None = None,
    times: int = 4000,
) -> Floor:
    """Return what a model whose true shares are equal scores under a statistic of counts (..., P', K) -> (..., P').

    faces: (P,), the labelled faces of each prompt; P' are the prompts that have one, in order. table: (R, K), rows the
    R true cells that a fair model shows equally often (the K classes, or the joint cells of which they are margins),
    columns the class that the classifier reads, as probabilities; a row that sums to less than 1 misses faces. None is
    a classifier without errors. A fair model is read with the mean row, so a classifier that leans makes it look unfair
    at any number of faces. Faces are taken to be independent: images with several faces that resemble each other have a
    higher floor. Both values are NaN where no prompt has a face. Raises ValueError for a table without K columns, or
    with a negative cell or an empty row.
    """
    read_shares = fair_shares(classes, table)
    sizes = faces[faces > 0]
    if not len(sizes):
        return Floor(float("nan"), float("nan"))
    chunk = max(1, _CHUNK_CELLS // (len(sizes) * classes))
    means = []
    for start in range(0, times, chunk):
        counts = rng.multinomial(sizes, read_shares, size=(min(chunk, times - start), len(sizes)))
        means.append(statistic(counts).mean(axis=-1))
    simulated = np.concatenate(means)
    return Floor(float(simulated.mean()), float(np.quantile(simulated, 0.95)))


def fair_shares(classes: int, table: ArrayLike | None = None) -> Floats:
    """Return the shares (K,) that a fair model's faces are read to have. Raises ValueError as `floor` does."""
    read_shares = _rows(table, classes).mean(axis=0)
    return np.asarray(read_shares / read_shares.sum())


def ceiling(metric: Callable[[Floats], Floats], classes: int, table: ArrayLike | None = None) -> float:
    """Return the largest value of a metric of shares that a model of one cell alone can show: over rows of the table.

    For RD and a classifier without errors it is 2/K. The largest, not the mean over cells: that of a model whose every
    prompt shows the cell that is read best. A value above the ceiling says that the table does not hold for
    these images. Raises ValueError as `floor` does.
    """
    rows = _rows(table, classes)
    return float(np.max(metric(rows / rows.sum(axis=1, keepdims=True))))


def _rows(table: ArrayLike | None, classes: int) -> Floats:
    """Return the checked table; that of a classifier without errors for None."""
    if table is None:
        return np.eye(classes)
    cells = np.asarray(table, dtype=np.float64)
    if cells.ndim != 2 or cells.shape[1] != classes or not (cells >= 0).all() or not (cells.sum(axis=1) > 0).all():
        raise ValueError(f"a confusion table has {classes} columns, no negative cell and no empty row")
    return cells
