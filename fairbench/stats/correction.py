"""Shares and `sq` with the labeller's errors undone, from counts and a calibration's counts.

The model. A prompt's images show cell r with probability w_r; the labeller reads an image of r in column j with
probability B_rj, whatever the prompt. Rows r: the K cells, then "no person" where the calibration has that row. Columns
j: the K cells, then "no face". As many columns as rows are used, so that the table B is square:

- K rows: the found faces alone. A row of B then sums to the group's face rate, below 1, and B^-T undoes misreadings and
  group-dependent misses in one step: the answer is shares among the people *shown*, not among the faces found. Images
  without a face say nothing here, because nobody knows how many of them show nobody. Assumed: an image that shows
  nobody yields no face.
- K + 1 rows: all images, so that faces found where there is nobody are undone too.

With counts n, y = B^-T n estimates N w, and p = y_k / (sum of y over the K cells). Where no face is ever missed the sum
is the number of faces, and p is linear in n and unbiased for an exact table; otherwise p is a ratio of linear parts.
p may leave the simplex: clipping it would bias every mean over prompts.

Sources: the inverse of a misclassification table, Buonaccorsi, "Measurement Error", 2010, section 3.3; for K = 2 and no
misses it is CLEAM's (u - (1 - a1)) / (a0 + a1 - 1), Teo et al., "On Measuring Fairness in Generative Models", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_EM_STEPS: Final = 20_000
_EM_GAP: Final = 1e-6
"""EM stops where no simplex point has a log-likelihood more than this above it."""


def corrected_shares(observed: ArrayLike, calibration: ArrayLike) -> FloatArray:
    """Return the shares of the K cells among the people shown, by the linear inverse, shape (..., P, K).

    observed: counts (..., P, K + 1), the last column the images without a face (0 will do where the calibration has no
    row "no person": it isn't used). calibration: counts (K or K + 1, K + 1), as `Calibration.counts`. The shares sum to
    1 and may lie outside [0, 1]; of margins, sum them over cells. NaN for a prompt without a face. Raises
    numpy.linalg.LinAlgError for a singular table: call `transfer.check` first.
    """
    counts, table, _ = prepared(observed, calibration)
    k = np.shape(observed)[-1] - 1
    inverse = np.linalg.inv(table)[..., :k]
    return _divided(counts @ inverse, (counts @ inverse.sum(axis=-1)[..., None])[..., 0])


def likely_shares(observed: ArrayLike, calibration: ArrayLike) -> FloatArray:
    """Return the shares of the K cells among the people shown, by maximum likelihood on the simplex, (..., P, K).

    The point to show: it is a distribution, and equals `corrected_shares` wherever those are one. It is biased where
    they are not; infer with the linear inverse. Arguments and NaN as there; the table is taken as exact.
    """
    counts, table, _ = prepared(observed, calibration)
    k = np.shape(observed)[-1] - 1
    found = table.sum(axis=-1)
    weights = mixture(counts, table / found[..., None]) / found[..., None, :]
    return _divided(weights[..., :k], weights[..., :k].sum(axis=-1))


def corrected_sq(
    observed: ArrayLike, calibration: ArrayLike, groups: Sequence[int] | None = None
) -> FloatArray:
    """Return sq = (k sum p^2 - 1) / (k - 1) of every prompt with the labeller's errors undone, shape (..., P).

    Arguments as in `corrected_shares`. groups: for a margin, the class 0 .. k - 1 to which each of the K cells belongs
    (gender of gender x race4: 0 0 0 0 1 1 1 1); the joint table is corrected, then summed. 0 is balance, 1 one-sided;
    not clipped, so that means over prompts are unbiased. NaN for a prompt with fewer than two faces.
    """
    counts, table, totals = prepared(observed, calibration)
    one_hot = groups_matrix(np.shape(observed)[-1] - 1, groups)
    plain, noise = sq_parts(counts, table, totals, one_hot)
    return plain - noise


def groups_matrix(k: int, groups: Sequence[int] | None) -> FloatArray:
    """Return the 0/1 matrix (K, k) that sums cells to groups; the identity where `groups` is None.

    Raises ValueError unless every cell has a group and no group is empty.
    """
    if groups is None:
        return np.eye(k)
    if len(groups) != k or set(groups) != set(range(max(groups) + 1)) or max(groups) < 1:
        raise ValueError(f"groups: give each of the {k} cells a class 0, 1, ..., none of them empty; got {groups}")
    return np.eye(max(groups) + 1)[np.asarray(groups)]


def prepared(observed: ArrayLike, calibration: ArrayLike) -> tuple[IntArray, FloatArray, IntArray]:
    """Return the counts (..., P, R) in the columns used, the square table B (..., R, R) and the row totals (..., R).

    Raises ValueError where the shapes do not fit, or a row of the calibration holds nothing.
    """
    counts, known = np.asarray(observed), np.asarray(calibration)
    r, columns = known.shape[-2:]
    if columns != counts.shape[-1] or r not in (columns - 1, columns):
        raise ValueError(
            f"a calibration (K or K + 1, K + 1) and counts (P, K + 1) are needed, got {known.shape} and {counts.shape}"
        )
    totals = known.sum(axis=-1)
    if (totals == 0).any():
        raise ValueError("a row of the calibration holds nothing")
    return counts[..., :r], (known / totals[..., None])[..., :r], totals


def sq_parts(
    counts: NDArray[Any], table: FloatArray, totals: NDArray[Any], one_hot: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the plug-in sq, and what it exceeds the truth by on average, both (..., P).

    counts (..., P, R), table (..., R, R), totals (..., R); one_hot (K, k). With z = (class sums of y), s = sum of z and
    h(z) = |z|^2 / s^2, the excess is the second-order Taylor term: half the trace of h's Hessian times Cov(z), plus the
    gradient times E[dz]. For an outer product vv' that half trace is kappa(v) / s^2, with
    kappa(v) = |v|^2 - 4 (p'v)(1'v) + 3 |p|^2 (1'v)^2; kappa(z) is 0, as h does not change with z's length.

    Multinomial part: Cov = n/(n - 1) (sum_j n_j l_j l_j' - zz'/n), l_j the summed row j of B^-1. Without misses this
    is exact: sum p^2 becomes the U-statistic sum over i != i' of l_i'l_i' / (n (n - 1)).
    Calibration part: row r errs with covariance S_r = (diag B_r - B_r B_r') / (m_r - 1), independently of other rows;
    dz = -L'(dB)'y + L'(dB)'B^-T(dB)'y, hence Cov(z) = sum_r y_r^2 L'S_r L and E[dz] = sum_r y_r L'S_r (B^-1)_r.
    """
    cells, k = one_hot.shape
    inverse = np.linalg.inv(table)
    lin = inverse[..., :cells] @ one_hot  # (..., R, k), its rows are the l_j
    t = lin.sum(axis=-1)
    own = np.zeros((table.shape[-1], k))  # the class a row belongs to; none for "no person"
    own[:cells] = one_hot

    n = counts.sum(axis=-1).astype(np.float64)
    n = np.where(n >= 2, n, np.nan)
    y, z = counts @ inverse, counts @ lin
    s = z.sum(axis=-1)
    p = z / s[..., None]
    p2 = (p * p).sum(axis=-1)

    per_row = y**2 / (totals - 1)[..., None, :]
    weight = counts * (n / (n - 1))[..., None] + per_row @ table  # of l_j l_j'
    kappa_l = (lin**2).sum(axis=-1)[..., None, :] + t[..., None, :] * (
        3 * p2[..., None] * t[..., None, :] - 4 * (p @ np.swapaxes(lin, -1, -2))
    )
    kappa_own = own.sum(axis=-1) * (1 + 3 * p2[..., None]) - 4 * (p @ own.T)
    half_trace = ((weight * kappa_l).sum(axis=-1) - (per_row * kappa_own).sum(axis=-1)) / s**2

    shift = ((table * np.swapaxes(inverse, -1, -2)) @ lin - own) / (totals - 1)[..., None]
    drift = (y @ shift)  # E[dz]
    slope = 2 / s * ((p * drift).sum(axis=-1) - p2 * drift.sum(axis=-1))
    return (k * p2 - 1) / (k - 1), k / (k - 1) * (half_trace + slope)


def mixture(counts: NDArray[Any], table: FloatArray) -> FloatArray:
    """Return the weights w on the simplex that maximise sum_j n_j log((table' w)_j), shape (..., P, R), by EM.

    counts (..., P, J); table (..., R, J), its rows distributions. NaN for a prompt without counts. The log-likelihood is
    within 1e-6 of its maximum (Lindsay's bound: N log of the largest gradient), or 20,000 steps were made.
    """
    n = counts.sum(axis=-1, keepdims=True)
    q = _divided(counts, n[..., 0])
    weights = np.broadcast_to(1 / table.shape[-2], (*q.shape[:-1], table.shape[-2])) + 0 * q[..., :1]
    transposed = np.swapaxes(table, -1, -2)
    for _ in range(_EM_STEPS):
        fitted = weights @ table
        gradient = np.divide(q, fitted, out=np.zeros_like(q), where=fitted > 0) @ transposed
        weights = weights * gradient
        if np.nanmax(n[..., 0] * np.log(gradient.max(axis=-1)), initial=0.0) < _EM_GAP:
            break
    return weights


def _divided(part: NDArray[Any], whole: NDArray[Any]) -> FloatArray:
    return np.asarray(part / np.where(whole == 0, np.nan, whole)[..., None])
