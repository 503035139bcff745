"""`sq` with the labeller's errors undone: neither the sampling noise nor the calibration's inflates it.

With z the class sums of y = B^-T n (see `correction`), s the sum of z and p = z / s, the plug-in value of sum p^2 is
h(z) = |z|^2 / s^2. Noise in z makes h too large on average, by the second-order Taylor term: half the trace of the
Hessian times Cov(z), plus the gradient times E[dz]. For a covariance vv' the first is kappa(v) / s^2,

    kappa(v) = |v|^2 - 4 (p'v)(1'v) + 3 |p|^2 (1'v)^2,

and kappa(z) = 0, as h does not depend on z's length. L has the rows l_j of B^-1, summed to classes; e_r is the unit
vector of row r's class (0 for "no person").

Sampling: Cov(z) = n/(n - 1) (sum_j n_j l_j l_j' - zz'/n). Without misses the result is exact: sum p^2 becomes the
U-statistic, the mean of l_i'l_i' over pairs of different faces. Calibration: row r of B errs with covariance
S_r = (diag B_r - B_r B_r') / (m_r - 1), independently of the others, and
dz = -L' dB' y + L' dB' B^-T dB' y, so that Cov(z) = sum_r y_r^2 L' S_r L and E[dz] = sum_r y_r L' S_r (B^-1)_r.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fairbench.stats.correction import Counts, prepared
from fairbench.types import FloatArray


def corrected_sq(observed: ArrayLike, calibration: ArrayLike, groups: Sequence[int] | None = None) -> FloatArray:
    """Return sq = (k sum p^2 - 1) / (k - 1) of every prompt with the labeller's errors undone, shape (..., P).

    observed, calibration: as in `correction.corrected_shares`. groups: for a margin, the class 0 .. k - 1 to which each
    of the K cells belongs (gender of gender x race4: 0 0 0 0 1 1 1 1); the joint shares are corrected, then summed.
    0 is balance, 1 one-sided; not clipped, so that means over prompts are unbiased. NaN below two faces (images, where
    the calibration has the row "no person").
    """
    one_hot = class_matrix(np.shape(observed)[-1] - 1, groups)
    return sq_of(*prepared(observed, calibration), one_hot)


def class_matrix(cells: int, groups: Sequence[int] | None) -> FloatArray:
    """Return the 0/1 matrix (K, k) that sums cells to classes; the identity where `groups` is None.

    Raises ValueError unless every cell has a class, and there are two or more, none of them empty.
    """
    if groups is None:
        return np.asarray(np.eye(cells))
    classes = max(groups, default=0) + 1
    if len(groups) != cells or classes < 2 or set(groups) != set(range(classes)):
        raise ValueError(f"groups: give each of the {cells} cells a class 0, 1, ... and leave none empty; got {groups}")
    return np.asarray(np.eye(classes)[np.asarray(groups)])


def sq_of(counts: Counts, table: FloatArray, totals: Counts, one_hot: FloatArray) -> FloatArray:
    """Return the corrected sq (..., P) of counts (..., P, R), table (..., R, R), totals (..., R), one_hot (K, k)."""
    k = one_hot.shape[1]
    inverse = np.linalg.inv(table)
    lin = inverse[..., : len(one_hot)] @ one_hot
    ones_l = lin.sum(axis=-1)[..., None, :]
    own = np.zeros((table.shape[-1], k))
    own[: len(one_hot)] = one_hot

    n, y, z = _at_least_two(counts), counts @ inverse, counts @ lin
    s = z.sum(axis=-1) + 0 * n  # NaN where n is
    p = z / s[..., None]
    p2 = (p * p).sum(axis=-1)

    variance = y**2 / (totals - 1)[..., None, :]
    of_l = counts * (n / (n - 1))[..., None] + variance @ table  # how often l_j l_j' stands in Cov(z)
    kappa_l = (lin**2).sum(axis=-1)[..., None, :] + ones_l * (
        3 * p2[..., None] * ones_l - 4 * p @ np.swapaxes(lin, -1, -2)
    )
    kappa_own = own.sum(axis=-1) * (1 + 3 * p2[..., None]) - 4 * p @ own.T
    curved = ((of_l * kappa_l).sum(axis=-1) - (variance * kappa_own).sum(axis=-1)) / s**2

    drift = y @ (((table * np.swapaxes(inverse, -1, -2)) @ lin - own) / (totals - 1)[..., None])  # E[dz]
    sloped = 2 / s * ((p * drift).sum(axis=-1) - p2 * drift.sum(axis=-1))
    return np.asarray((k * (p2 - curved - sloped) - 1) / (k - 1))


def sampling_variance(counts: Counts, table: FloatArray, one_hot: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return an estimate of the sampling variance of `sq_of` for a given table, and the least it can be, both (..., P).

    sq is linearised to the mean over pairs of faces of phi = (l_i'l_i' - |p|^2 t_i t_i') (n/s)^2, t_i the sum of l_i.
    The variance of such a U-statistic is estimated without bias by its square minus the mean of phi_12 phi_34 over four
    different faces; near balance a bootstrap would give up to three times as much. Single prompts' estimates are noisy
    and may be negative: add the prompts up. The least is 2 mean(phi^2) / (n (n - 1)), what is left where no single face
    tells anything. Below four counts both are the mean of phi^2 (Hoeffding's bound), with 1/k for |p|^2, as so few
    faces tell nothing about it. NaN below two.
    """
    k = one_hot.shape[1]
    lin = np.linalg.inv(table)[..., : len(one_hot)] @ one_hot
    ones_l = lin.sum(axis=-1)
    n, z = _at_least_two(counts), counts @ lin
    s = z.sum(axis=-1) + 0 * n
    p2 = np.where(n >= 4, ((z / s[..., None]) ** 2).sum(axis=-1), 1 / k)[..., None, None]
    alike = (lin @ np.swapaxes(lin, -1, -2))[..., None, :, :]
    level = p2 * (ones_l[..., :, None] * ones_l[..., None, :])[..., None, :, :]
    phi = (alike - level) * ((n / s) ** 2)[..., None, None]

    same = np.diagonal(phi, axis1=-2, axis2=-1)
    with_others = (phi @ counts[..., None])[..., 0] - same  # sum of phi over the other faces, for a face of column j
    pairs = (counts * with_others).sum(axis=-1)
    triples = (counts * with_others**2).sum(axis=-1)
    squares = (counts * ((phi**2 @ counts[..., None])[..., 0] - same**2)).sum(axis=-1)
    n2 = n * (n - 1)
    n4 = np.where(n >= 4, n2 * (n - 2) * (n - 3), 1)
    scale, bound = (k / (k - 1)) ** 2, squares / n2
    variance = np.where(n >= 4, (pairs / n2) ** 2 - (pairs**2 - 4 * triples + 2 * squares) / n4, bound)
    return np.asarray(scale * variance), np.asarray(scale * np.where(n >= 4, 2 * bound / n2, bound))


def _at_least_two(counts: Counts) -> FloatArray:
    n = counts.sum(axis=-1).astype(np.float64)
    return np.where(n >= 2, n, np.nan)
