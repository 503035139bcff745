"""`concentration` with the labeller's errors undone: neither the sampling noise nor the calibration's inflates it.

With z the class sums of y = B^-T n (see `correction`), s the sum of z and p = z / s, the plug-in value of sum p^2 is
h(z) = |z|^2 / s^2. Noise in z makes h too large on average, by the second-order Taylor term: half the trace of the
Hessian times Cov(z), plus the gradient times E[dz]. For a covariance vv' the first is kappa(v) / s^2,

    kappa(v) = |v|^2 - 4 (p'v)(1'v) + 3 |p|^2 (1'v)^2,

and kappa(z) = 0, as h does not depend on z's length. L has the rows l_j of B^-1, summed to classes; e_r is the unit
vector of row r's class (0 for "no person").

Sampling, of m images with l_i the sum of l_j over image i's faces: Cov(z) = m/(m - 1) (sum_i l_i l_i' - zz'/m). Without
misses, and with one face per image, the result is exact: sum p^2 becomes the mean of l_i'l_i' over pairs of images.
Calibration: row r of B errs with covariance S_r = (diag B_r - B_r B_r') / (m_r - 1), independently of the others, and
dz = -L' dB' y + L' dB' B^-T dB' y, so that Cov(z) = sum_r y_r^2 L' S_r L and E[dz] = sum_r y_r L' S_r (B^-1)_r.

Where these images may be easier than the calibration's, the table is (1 - t) I + t B: B^-1 above is its inverse, and
S_r is t^2 times that of B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairbench.stats.correction import Counts, prepared
from fairbench.stats.intervals import PSEUDO_IMAGES
from fairbench.stats.units import Data, as_units, merged
from fairbench.types import FloatArray

BoolArray = NDArray[np.bool_]
_MIN_IMAGES: Final = 4
"""Images with a face that a prompt must have to count, as in `intervals`: below, no variance can be estimated."""
_MIN_CERTAINTY: Final = 5.0
"""Standard errors by which the estimated number of people must lie above 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A run's images and a calibration's table, in the R columns that are used.

    kinds (T, R): the different images. times (..., P, T): how often each prompt has them. table (..., R, R): B.
    totals (..., R): the calibration's images. one_hot (K, k): sums cells to classes. errors: t, the part of the
    calibration's errors that these images have, 0 to 1.
    """

    kinds: Counts
    times: Counts
    table: FloatArray
    totals: Counts
    one_hot: FloatArray
    errors: float = 1.0

    def inverse(self) -> FloatArray:
        """Return the inverse (..., R, R) of the table that these images are read with."""
        return np.asarray(np.linalg.inv(self.errors * self.table + (1 - self.errors) * np.eye(self.table.shape[-1])))


def corrected_concentration(observed: Data, calibration: ArrayLike, groups: Sequence[int] | None = None) -> FloatArray:
    """Return concentration, (k sum p^2 - 1) / (k - 1), of every prompt with the labeller's errors undone, (..., P).

    observed, calibration: as in `correction.corrected_shares`; Units of kinds (T, K + 1) where images can show several
    faces. groups: for a margin, the class 0 .. k - 1 to which each of the K cells belongs (gender of gender x race4:
    0 0 0 0 1 1 1 1); the joint shares are corrected, then summed. 0 is balance, 1 one-sided; not clipped, so that means
    over prompts are unbiased. NaN below two images with a face (two images, where the calibration has "no person").
    """
    return concentration_of(sample_of(observed, calibration, groups))


def sample_of(observed: Data, calibration: ArrayLike, groups: Sequence[int] | None) -> Sample:
    """Return both together. Raises ValueError where they do not fit, and as `class_matrix` does."""
    units = as_units(observed)
    cells, rows = units.kinds.shape[1] - 1, np.shape(calibration)[-2]
    _, table, totals = prepared(units.counts, calibration)
    kinds = units.kinds[:, :rows]
    informative = kinds.any(axis=1)  # an image without a face says nothing where that column is not used
    return Sample(kinds[informative], units.times[..., informative], table, totals, class_matrix(cells, groups))


def usable(sample: Sample) -> BoolArray:
    """Return which prompts (P,) can be corrected: at least four images with a face, and people shown for certain.

    Shares divide by s, the estimated number of people. Where a calibration has the row "no person" and hardly any image
    shows a face, s is about 0 and the shares are anything: it must be five of its standard errors above 0.
    """
    cells = len(sample.one_hot)
    people_of_kind = (sample.kinds @ sample.inverse()[:, :cells]).sum(axis=1)
    images = np.maximum(sample.times.sum(axis=-1), 2)
    s, squares = sample.times @ people_of_kind, sample.times @ people_of_kind**2
    # The error of a sum over images: their number times the variance between them.
    error = np.sqrt(np.maximum(squares - s**2 / images, 0) * images / (images - 1))
    with_face = sample.times @ sample.kinds[:, :cells].any(axis=1)
    return np.asarray((with_face >= _MIN_IMAGES) & (s > _MIN_CERTAINTY * error))


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


def concentration_of(sample: Sample) -> FloatArray:
    """Return the corrected concentration (..., P); NaN below two images. The symbols are the module's."""
    table, one_hot, k = sample.table, sample.one_hot, sample.one_hot.shape[1]
    inverse = sample.inverse()
    lin = inverse[..., : len(one_hot)] @ one_hot  # L, (..., R, k)
    centre = table @ lin  # L'B_r; where t is 1, e_r

    # The plug-in value: |p|^2 of the corrected shares.
    m, counts = _images(sample, minimum=2), sample.times @ sample.kinds
    y, z = counts @ inverse, counts @ lin
    s = z.sum(axis=-1) + 0 * m  # NaN where m is
    p = z / s[..., None]
    p2 = (p * p).sum(axis=-1)

    def curvature(weights: FloatArray, v: FloatArray) -> FloatArray:
        """Return the sum of weights (..., P, V) times kappa of the rows of v (..., V, k)."""
        ones_v = v.sum(axis=-1)[..., None, :]
        kappa = (v * v).sum(axis=-1)[..., None, :] + ones_v * (
            3 * p2[..., None] * ones_v - 4 * p @ np.swapaxes(v, -1, -2)
        )
        return np.asarray((weights * kappa).sum(axis=-1))

    # What the draw of images adds: their l_i l_i'; the term zz'/m adds nothing, as kappa(z) = 0.
    curved = curvature(sample.times * (m / (m - 1))[..., None], sample.kinds @ lin)
    # What the calibration's draw adds: y_r^2 L' S_r L, whose S_r is diag B_r minus B_r B_r'.
    per_image = sample.errors**2 / (sample.totals - 1)
    noise = y**2 * per_image[..., None, :]
    curved += curvature(noise @ table, lin) - curvature(noise, centre)
    # The calibration's draw also shifts z, by E[dz] with its S_r (B^-1)_r, along the gradient of h.
    weighted = table * np.swapaxes(inverse, -1, -2)
    shift = weighted @ lin - weighted.sum(axis=-1, keepdims=True) * centre
    drift = y @ (shift * per_image[..., None])
    sloped = 2 * s * ((p * drift).sum(axis=-1) - p2 * drift.sum(axis=-1))
    return np.asarray((k * (p2 - (curved + sloped) / s**2) - 1) / (k - 1))


def sampling_variance(sample: Sample) -> tuple[FloatArray, FloatArray]:
    """Return an estimate of the variance that drawing images gives `concentration_of`, and its lower bound, (..., P).

    It is linearised to the mean over pairs of images of phi = (l_i'l_i' - |p|^2 t_i t_i') (m/s)^2, t_i the sum of l_i.
    The variance of such a U-statistic is estimated without bias by its square minus the mean of phi_12 phi_34 over four
    different images; near balance a bootstrap would give up to three times as much. As for raw values, a task of one
    class alone has no error of 0: give `with_pseudo_images`. Single prompts' estimates are noisy and may be negative:
    add the prompts up. The bound is 2 mean(phi^2) / (m (m - 1)), what is left where no single image tells anything.
    NaN below four images.
    """
    k, m = sample.one_hot.shape[1], _images(sample, minimum=4)
    lin = sample.inverse()[..., : len(sample.one_hot)] @ sample.one_hot
    z = sample.times @ sample.kinds @ lin
    s = z.sum(axis=-1) + 0 * m
    p2 = (z * z).sum(axis=-1) / s**2
    # phi of every pair of kinds (..., P, T, T).
    of_kind = sample.kinds @ lin
    t = of_kind.sum(axis=-1)
    alike, level = of_kind @ np.swapaxes(of_kind, -1, -2), t[..., :, None] * t[..., None, :]
    phi = alike[..., None, :, :] - p2[..., None, None] * level[..., None, :, :]
    phi = phi * ((m / s) ** 2)[..., None, None]

    # Sums over different images: of each kind's times all, less the image with itself.
    times, same = sample.times, np.diagonal(phi, axis1=-2, axis2=-1)
    with_others = (phi @ times[..., None])[..., 0] - same  # for an image of each kind, over all other images
    pairs = (times * with_others).sum(axis=-1)
    triples = (times * with_others**2).sum(axis=-1)
    squares = (times * ((phi**2 @ times[..., None])[..., 0] - same**2)).sum(axis=-1)
    # The mean of phi_12 phi_34 over four different images: all pairs of pairs, less those that share images.
    m2, scale = m * (m - 1), (k / (k - 1)) ** 2
    variance = (pairs / m2) ** 2 - (pairs**2 - 4 * triples + 2 * squares) / (m2 * (m - 2) * (m - 3))
    return np.asarray(scale * variance), np.asarray(scale * 2 * squares / m2**2)


def with_pseudo_images(sample: Sample) -> Sample:
    """Return the sample (P, T) with the pseudo-images of a task, balanced over the cells, which raw errors hold too.

    They show one face each; where images show several, as many of one cell as there are on average.
    """
    prompts, cells, images = len(sample.times), len(sample.one_hot), sample.times.sum()
    balanced = np.full((prompts, cells), PSEUDO_IMAGES / prompts / cells)
    size = max(1, round(float((sample.times @ sample.kinds).sum() / images))) if images else 1
    alike = size * np.eye(cells, sample.kinds.shape[1], dtype=np.int64)
    kinds, times = merged(np.vstack([sample.kinds, alike]), np.hstack([sample.times, balanced]))
    return replace(sample, kinds=kinds, times=times)


def _images(sample: Sample, minimum: int) -> FloatArray:
    """Return the number of images (..., P), NaN below `minimum`."""
    m = sample.times.sum(axis=-1).astype(np.float64)
    return np.where(m >= minimum, m, np.nan)
