"""Two labellers on the same faces: how often they agree, beyond chance, and whether they lean differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from fairbench.types import FloatArray


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two labellers compare on n faces.

    raw: share of faces with the same label. kappa: Cohen's, 1 full agreement, 0 that of chance; NaN where both give the
    same single label throughout. kappa_error: its standard error. statistic, dof, p_value: Stuart-Maxwell's test that
    both give every label equally often; a small p means that the choice of labeller shifts the shares.
    """

    n: int
    raw: float
    kappa: float
    kappa_error: float
    statistic: float
    dof: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Faces that the first labeller gives one label and the second another. share: of all faces."""

    first: str
    second: str
    count: int
    share: float


def agreement(table: ArrayLike) -> Agreement:
    """Return how two labellers agree. table: counts (K, K) of faces, rows the first's label, columns the second's.

    Faces count as independent, which is cautious where they come from fixed prompts. Labels that neither gives change
    nothing. Without any face all values are NaN. Raises ValueError for a table that is not square.
    """
    counts = _square(table)
    n = int(counts.sum())
    if not n:
        return Agreement(0, np.nan, np.nan, np.nan, np.nan, 0, np.nan)
    kappa, error = _kappa(counts / n, n)
    statistic, dof = _stuart_maxwell(counts)
    p_value = float(chi2.sf(statistic, dof)) if dof else 1.0
    return Agreement(n, float(np.trace(counts) / n), kappa, error, statistic, dof, p_value)


def disagreements(table: ArrayLike, labels: Sequence[str]) -> list[Disagreement]:
    """Return the pairs of different labels that occur, the most frequent first, ties in the order of the labels."""
    counts = _square(table)
    if len(labels) != len(counts):
        raise ValueError(f"{len(labels)} labels do not name {len(counts)} rows")
    pairs = [(int(counts[i, j]), i, j) for i, j in np.argwhere(counts) if i != j]
    n = int(counts.sum())
    return [Disagreement(labels[i], labels[j], c, c / n) for c, i, j in sorted(pairs, key=lambda x: (-x[0], x[1:]))]


def _kappa(p: FloatArray, n: int) -> tuple[float, float]:
    """Return Cohen's kappa of cell shares p (K, K) and its standard error (Fleiss, Cohen and Everitt 1969, eq. 13)."""
    rows, columns, same = p.sum(axis=1), p.sum(axis=0), np.diag(p)
    chance = float(rows @ columns)
    if np.count_nonzero(p) == 1 and same.any():
        return np.nan, np.nan
    kappa = (same.sum() - chance) / (1 - chance)
    # The delta method, summed over the diagonal and over the other cells.
    spread = p * (columns[:, None] + rows[None, :]) ** 2
    diagonal = (same * (1 - (rows + columns) * (1 - kappa)) ** 2).sum()
    others = (1 - kappa) ** 2 * (spread.sum() - np.trace(spread))
    variance = (diagonal + others - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    return float(kappa), float(np.sqrt(max(variance, 0.0)))


def _stuart_maxwell(counts: NDArray[np.int64]) -> tuple[float, int]:
    """Return the statistic d' S^- d and its degrees of freedom: Stuart 1955, Maxwell 1970.

    d: row minus column sums. Its covariance S under homogeneity is the Laplacian of the graph in which two labels are
    joined by the faces they are confused in. Each connected part loses one degree of freedom, hence the generalised
    inverse: a label never given, or never confused, is a part of its own and drops out.
    """
    d = counts.sum(axis=1) - counts.sum(axis=0)
    confused = counts + counts.T
    np.fill_diagonal(confused, 0)
    laplacian = np.diag(confused.sum(axis=1)) - confused
    parts, _ = connected_components(confused, directed=False)
    return float(d @ np.linalg.pinv(laplacian.astype(np.float64), hermitian=True) @ d), len(counts) - int(parts)


def _square(table: ArrayLike) -> NDArray[np.int64]:
    """Return the checked table as whole numbers."""
    counts = np.array(table, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise ValueError(f"two labellers need a square table of counts, got {counts.shape}")
    return counts
