"""Shares with the labeller's errors undone, from a run's counts and a calibration's counts.

The model. A prompt's images show cell r with probability w_r; the labeller reads an image of r in column j with
probability B_rj, whatever the prompt. Rows r: the K cells, then "no person" where the calibration has that row. Columns
j: the K cells, then "no face". As many columns as rows are used, so that the table B is square:

- K rows: the found faces alone. A row of B then sums to the cell's face rate, below 1, and B^-T undoes misreadings and
  misses that depend on the cell in one step: the answer is shares among the people *shown*, not among the faces found.
  Images without a face say nothing here, because it is not known how many of them show nobody. Assumed: an image that
  shows nobody yields no face.
- K + 1 rows: all images, so that faces found where there is nobody are undone too.

With counts n, y = B^-T n estimates N w, and p_k = y_k / (sum of y over the K cells). Where no face is missed, that sum
is the number of faces, so p is linear in n and unbiased for an exact table; else p is a ratio of two linear parts. p
may leave the simplex: clipping it would bias every mean over prompts.

Sources: Buonaccorsi, Measurement Error, 2010, chapter 3 (the inverse of a misclassification table). For K = 2 and no
misses it is CLEAM's (u - (1 - a1)) / (a0 + a1 - 1): Teo et al., On Measuring Fairness in Generative Models, 2023.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairbench.types import FloatArray

Counts = NDArray[Any]
"""Whole numbers; floating point only where a test puts in expected counts."""

_EM_STEPS: Final = 20_000
_EM_GAP: Final = 1e-6
"""EM stops where no point of the simplex has a log-likelihood more than this above it."""


def corrected_shares(observed: ArrayLike, calibration: ArrayLike) -> FloatArray:
    """Return the shares of the K cells among the people shown, by the linear inverse, shape (..., P, K).

    observed: counts (..., P, K + 1), the last column the images without a face (it is not used, and may be 0, where the
    calibration has no row "no person"). calibration: counts (K or K + 1, K + 1), as `Calibration.counts`. The shares
    sum to 1 and may lie outside [0, 1]; the shares of a margin are sums of them. NaN for a prompt without a face.
    Raises ValueError for shapes that do not fit or a row of fewer than two images, numpy.linalg.LinAlgError for a
    singular table: ask `transfer.check` first.
    """
    counts, table, _ = prepared(observed, calibration)
    y = counts @ np.linalg.inv(table)[..., : np.shape(observed)[-1] - 1]
    return _normalised(y)


def likely_shares(observed: ArrayLike, calibration: ArrayLike) -> FloatArray:
    """Return the shares of the K cells among the people shown, by maximum likelihood on the simplex, (..., P, K).

    The point to show: it is a distribution, and is `corrected_shares` wherever that is one. It is biased where that is
    not: infer with the linear inverse. Arguments, NaN and errors as there; the table is taken as exact.
    """
    counts, table, _ = prepared(observed, calibration)
    face_rate = table.sum(axis=-1)
    # The mixture is of the images read; a cell whose faces are often missed holds more of the people shown.
    weights = mixture(counts, table / face_rate[..., None]) / face_rate[..., None, :]
    return _normalised(weights[..., : np.shape(observed)[-1] - 1])


def prepared(observed: ArrayLike, calibration: ArrayLike) -> tuple[Counts, FloatArray, Counts]:
    """Return the counts (..., P, R) in the columns used, the table B (..., R, R) and the row totals (..., R)."""
    counts, true_by_read = np.asarray(observed), np.asarray(calibration)
    rows, columns = true_by_read.shape[-2:]
    if columns != counts.shape[-1] or rows not in (columns - 1, columns):
        shapes = f"{counts.shape} and {true_by_read.shape}"
        raise ValueError(f"counts (P, K + 1) and a calibration (K or K + 1, K + 1) are needed, got {shapes}")
    totals = true_by_read.sum(axis=-1)
    if (totals < 2).any():
        raise ValueError("a row of the calibration holds fewer than two images")
    return counts[..., :rows], (true_by_read / totals[..., None])[..., :rows], totals


def mixture(counts: Counts, table: FloatArray) -> FloatArray:
    """Return the weights w on the simplex that maximise sum_j n_j log((table' w)_j), shape (..., P, R), by EM.

    counts (..., P, J); table (..., R, J), its rows distributions. NaN for a prompt without counts. The log-likelihood
    is within 1e-6 of its maximum, which is at most N log(largest gradient) above (Lindsay 1983), or steps ran out.
    """
    n = counts.sum(axis=-1)
    q = counts / np.where(n > 0, n, np.nan)[..., None]
    weights = q[..., :1] * 0 + np.full(table.shape[-2], 1 / table.shape[-2])  # equal; NaN where q is
    transposed = np.swapaxes(table, -1, -2)
    for _ in range(_EM_STEPS):
        fitted = weights @ table
        gradient = np.divide(q, fitted, out=np.zeros_like(q), where=fitted > 0) @ transposed
        weights = weights * gradient
        if (n * np.log(np.maximum(gradient.max(axis=-1), 1)) <= _EM_GAP).all():  # the largest is 1 at the maximum
            break
    return np.asarray(weights)


def _normalised(y: FloatArray) -> FloatArray:
    """Return y over its sum; NaN where that is 0."""
    total = y.sum(axis=-1, keepdims=True)
    return np.asarray(y / np.where(total == 0, np.nan, total))
