"""Shares of a class that differs from prompt to prompt, as of the group that each states, and sums of their means.

A *part* is a set of prompts, of which the mean over prompts is taken; a sum of parts is their means times coefficients
that are given, as 1 and -1 for a gap between two parts. Images are redrawn, the prompts are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairbench.stats.correction_concentration import sample_of, usable
from fairbench.stats.correction_interval import calibration_draws, with_shared
from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.intervals import PSEUDO_IMAGES, Z_95, Interval
from fairbench.stats.units import Data, Units, as_units
from fairbench.types import FloatArray

Mask = NDArray[np.bool_]
Parts = Sequence[tuple[float, Mask]]
"""Coefficient and prompts (P,) of each part."""
FEWEST: Final = 8
"""Images of a part, below which it has no interval and no corrected value."""
TOO_FEW: Final = f"fewer than {FEWEST} images with a face: no interval"
_DRAWS: Final = 500
_BLOCK: Final = 100
"""Tables at a time: their shares take less than 30 MB for 200 prompts and 130 cells."""
_ERRORS: Final = tuple(i / 10 for i in range(11))
"""Parts of the calibration's errors at which the lowest and the highest value are looked for."""


class Mean(NamedTuple):
    """The mean of a part, the variance that redrawing its images gives it, and the limits of its 95 % interval."""

    value: float
    variance: float
    low: float
    high: float


def in_two(data: Data, member: Mask) -> Units:
    """Return images by their faces of a class and others. data: (P, K), or Units; member: (P, K), each prompt's class.

    The class of a prompt may be several of the K together.
    """
    units = as_units(data)
    own = units.kinds @ member.T  # (T, P)
    prompt, kind = np.nonzero(units.times)
    pairs = np.stack([own[kind, prompt], units.kinds[kind].sum(axis=1) - own[kind, prompt]], axis=1)
    if not len(pairs):
        return Units(np.eye(2, dtype=np.int64), np.zeros((len(units.times), 2), dtype=np.int64))
    kinds, index = np.unique(pairs, axis=0, return_inverse=True)
    times = np.zeros((len(units.times), len(kinds)), dtype=np.int64)
    np.add.at(times, (prompt, index.reshape(-1)), units.times[prompt, kind])
    return Units(kinds, times)


def shares(units: Units) -> Floats:
    """Return each prompt's share (P,) of the first of two classes; NaN without a face."""
    counts = units.counts
    return np.where(counts.sum(axis=1) > 0, counts[:, 0] / np.maximum(counts.sum(axis=1), 1), np.nan)


def mean(units: Units, part: Mask) -> Mean:
    """Return the mean share of the first of two classes over the prompts of a part that show a face; NaN if none does.

    Below FEWEST images there is a mean alone. The limits are Wilson's, for as many independent images as give the mean
    the variance that it has (as of complex surveys: Kott and Carr, Journal of Official Statistics 13, 1997): prompts
    differ, and images can show several faces. For the variance a part has PSEUDO_IMAGES more, half of either class: one
    in which all images agree must not have a variance of 0.
    """
    value = shares(units)[part]
    kept = ~np.isnan(value)
    if not kept.any():
        return Mean(*[np.nan] * 4)
    n, times = int(kept.sum()), units.times[part][kept]
    images, sizes = times.sum(axis=1), units.kinds.sum(axis=1)
    size = max(1.0, float((times @ sizes).sum() / images.sum()))  # faces of a pseudo-image
    kinds = np.vstack([units.kinds, size * np.eye(2)])
    weights = np.hstack([times, np.full((n, 2), PSEUDO_IMAGES / n / 2)])
    faces = weights @ kinds.sum(axis=1)
    smooth = weights @ kinds[:, 0] / faces
    middle = float(smooth.mean())
    influence = kinds[:, 0] - _centre(smooth, middle, images)[:, None] * kinds.sum(axis=1)
    redrawn = (weights * influence**2).sum(axis=1) / faces**2 * _unbiased(images)
    variance = float(redrawn.sum() / n**2) if images.sum() >= FEWEST else np.nan
    low, high = _wilson(float(value[kept].mean()), middle * (1 - middle) / variance)
    return Mean(float(value[kept].mean()), variance, low, high)


def _centre(own: FloatArray, middle: float, images: IntArray) -> FloatArray:
    """Return what each prompt's images (n,) vary around: its own share; of a single image, the mean of the part.

    One image does not say how it varies. Around the mean it is taken to vary as all images together, which is more.
    """
    return np.where(images > 1, own, middle)


def _unbiased(images: IntArray) -> Floats:
    """Return the factor (n,) that makes a variance around those means unbiased."""
    single = len(images) / max(len(images) - 1, 1)
    return np.where(images > 1, images / np.maximum(images - 1, 1), single)


def _wilson(share: float, images: float) -> tuple[float, float]:
    """Return the limits of a share of so many independent images (Wilson 1927)."""
    z2 = Z_95**2 / images
    half = float(np.sqrt(z2 * share * (1 - share) + z2**2 / 4))
    limits = np.clip((share + z2 / 2 + np.array([-half, half])) / (1 + z2), 0.0, 1.0)
    return float(limits[0]), float(limits[1])


def total(units: Units, parts: Parts) -> Interval:
    """Return a sum of parts with its 95 % interval; NaN where a part shows no face.

    Its limits combine those of the parts, each by itself a distance from its mean (Newcombe, Statistics in Medicine 17,
    1998, method 10), so that a gap between shares near 1 has no symmetric interval. The parts have no prompt in common.
    """
    means = [mean(units, part) for _, part in parts]
    used, left_out = _counted(~np.isnan(shares(units)), parts)
    estimate, down, up, variance = 0.0, 0.0, 0.0, 0.0
    for (coefficient, _), part in zip(parts, means, strict=True):
        below, above = part.value - part.low, part.high - part.value
        below, above = (below, above) if coefficient > 0 else (above, below)
        estimate += coefficient * part.value
        down, up = float(np.hypot(down, coefficient * below)), float(np.hypot(up, coefficient * above))
        variance += coefficient**2 * part.variance
    return Interval(estimate, estimate - down, estimate + up, float(np.sqrt(variance)), used, left_out)


def _counted(known: Mask, parts: Parts) -> tuple[int, int]:
    """Return how many prompts of the parts are known, and how many are not."""
    asked = np.any([part for _, part in parts], axis=0)
    return int((asked & known).sum()), int((asked & ~known).sum())


class Corrected:
    """The same with the labeller's errors undone: shares among the people shown.

    observed (P, K + 1) or Units, calibration (K or K + 1, K + 1): as in `corrected_concentration`. member: (P, K), the
    cells that each prompt's class has; a prompt without any is left
    out. All parts see the same tables, so that sums of parts know what those share.
    """

    def __init__(self, observed: Data, calibration: ArrayLike, member: Mask, rng: np.random.Generator) -> None:
        self._sample, self._member = sample_of(observed, calibration, None), member
        rows, cells = self._sample.table.shape[-1], member.shape[1]
        # Of images that show nobody nothing is known without a row of them, and shares are of faces.
        enough = self._sample.times.sum(axis=1) > 0 if rows == cells else usable(self._sample)
        self.known = enough & member.any(axis=1)
        self._tables = np.concatenate(list(calibration_draws(calibration, rng, _DRAWS)))
        self._drawn: dict[float, FloatArray] = {}

    def total(self, parts: Parts, errors: float = 1.0) -> Interval:
        """Return a sum of parts with its 95 % interval; NaN where a part has too few images that can be corrected.

        errors: which part of the calibration's errors these images have, 0 to 1.
        """
        used, left_out = _counted(self.known, parts)
        images = self._sample.times.sum(axis=1)
        if any(images[part & self.known].sum() < FEWEST for _, part in parts):
            return Interval(np.nan, np.nan, np.nan, np.nan, used, left_out, np.nan)
        if errors not in self._drawn:
            blocks = (self._tables[i : i + _BLOCK] for i in range(0, len(self._tables), _BLOCK))
            self._drawn[errors] = np.concatenate([self._values(errors, block) for block in blocks])
        values, drawn = self._values(errors), np.zeros(len(self._tables))
        estimate, variance = 0.0, 0.0
        for coefficient, part in parts:
            kept = part & self.known
            estimate += coefficient * float(values[kept].mean())
            drawn = drawn + coefficient * self._drawn[errors][:, kept].mean(axis=1)
            variance += coefficient**2 * self._variance(kept, errors)
        own = float(np.sqrt(variance))
        low, high, shared = with_shared(estimate, Z_95 * own, Z_95 * own, drawn)
        return Interval(estimate, low, high, float(np.hypot(own, shared)), used, left_out, shared)

    def range(self, parts: Parts) -> tuple[Interval, Interval]:
        """Return the lowest and the highest sum if errors are at most those of the calibration."""
        if np.isnan(self.total(parts).estimate):
            return self.total(parts), self.total(parts)
        values = []
        for errors in _ERRORS:
            of_prompts = self._values(errors)
            values.append(sum(c * float(np.mean(of_prompts[part & self.known])) for c, part in parts))
        lowest, highest = (_ERRORS[int(pick(values))] for pick in (np.argmin, np.argmax))
        return self.total(parts, lowest), self.total(parts, highest)

    def _inverse(self, errors: float, tables: FloatArray | None = None) -> FloatArray:
        """Return the inverse (..., R, K) of the table or tables with this part of their errors."""
        table = self._sample.table if tables is None else tables
        mixed = errors * table + (1 - errors) * np.eye(table.shape[-1])
        return np.asarray(np.linalg.inv(mixed)[..., : self._member.shape[1]])

    def _values(self, errors: float, tables: FloatArray | None = None) -> FloatArray:
        """Return the share (..., P) of each prompt's class among the people shown."""
        inverse, counts = self._inverse(errors, tables), self._sample.times @ self._sample.kinds
        with np.errstate(invalid="ignore", divide="ignore"):  # prompts that are not known
            above = np.einsum("pr,...rp->...p", counts, inverse @ self._member.T)
            return np.asarray(above / (inverse.sum(axis=-1) @ counts.T))

    def _variance(self, part: Mask, errors: float) -> float:
        """Return the variance of a part's mean from drawing images, for a given table.

        The part's pseudo-images show one face each, half of them of a cell of the prompt's class.
        """
        sample, member, n = self._sample, self._member[part], int(part.sum())
        inverse, cells = self._inverse(errors), self._member.shape[1]
        times, images = sample.times[part], sample.times[part].sum(axis=1)
        size = max(1.0, float((times @ sample.kinds[:, :cells]).sum() / max(images.sum(), 1)))
        own, others = (side / np.maximum(side.sum(axis=1, keepdims=True), 1) for side in (member, ~member))
        kinds = np.vstack([sample.kinds, size * np.eye(cells, sample.kinds.shape[1])])
        weights = np.hstack([times, PSEUDO_IMAGES / n / 2 * (own + others)])
        above, below = kinds @ inverse @ member.T, (kinds @ inverse).sum(axis=1)  # (T, n), (T,)
        people = weights @ below
        value = (weights * above.T).sum(axis=1) / people
        centre = _centre(value, float(value.mean()), images)
        influence = (above.T - centre[:, None] * below) / people[:, None]
        return float(((weights * influence**2).sum(axis=1) * _unbiased(images)).sum() / n**2)
