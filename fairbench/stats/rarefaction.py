"""RD at a stated number of images (rarefaction), the variance that drawing images gives it, and its interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, concentration, rd_at, shares
from fairbench.stats.intervals import Interval, PromptValues, Scope, interval_of, smoothed
from fairbench.stats.units import Data, Units, as_units

_DRAWS: Final = 1000
"""Draws of n0 images of a prompt, where they show several faces: its RD is then right to .004, a task's to .001."""
_CHUNK_CELLS: Final = 1 << 20
"""Images by kind of one chunk of redraws: 8 MB."""
_FOLDED_VARIANCE: Final = 1 - 2 / np.pi
"""Variance of |Z| over that of Z, for a standard normal Z: what the fold of RD can take off at most."""

Statistic = Callable[[IntArray, IntArray], Floats]
"""Images by kind (..., T), numbers of images n0 that broadcast against (...) -> RD at n0 images (...)."""


def rd_at_interval(data: Data, n0: ArrayLike, scope: Scope, rng: np.random.Generator, times: int = 1000) -> Interval:
    """Return the interval of the task mean of RD at n0 images (one number, or per prompt); see `rd_at_of_prompts`."""
    values = rd_at_of_prompts(data, n0, rng, times)
    return interval_of(values, scope, lowest=0.0, highest=2 / as_units(data).kinds.shape[1])


def rd_at_images(data: Data, n0: ArrayLike, rng: np.random.Generator) -> Floats:
    """Return the expected RD (P,) of the faces of n0 images, drawn without replacement from those with a face.

    NaN where there are fewer. With one face per image it is `estimands.rd_at`, exactly, and an unbiased estimate of the
    expected RD of n0 independent faces. With several it is the expected RD of the faces of n0 further images, with as
    many faces and as alike as in these, up to what the varying number of faces per image changes; by Monte Carlo over
    `_DRAWS` sets of images. Where all images are drawn it is the RD of the shares. Rarefying *faces* would count faces
    of one image as independent draws: the value would depend on how alike they are.
    """
    units = as_units(data)
    if not units.several:
        return rd_at(units.counts, n0)
    images = units.times.sum(axis=1)
    drawn = np.broadcast_to(np.asarray(n0), images.shape)
    values = np.full(images.shape, np.nan)
    for prompt in np.flatnonzero((images > 0) & (drawn <= images)):
        sets = rng.multivariate_hypergeometric(units.times[prompt], drawn[prompt], size=_DRAWS)
        if drawn[prompt] == images[prompt]:
            sets = units.times[prompt][None]
        values[prompt] = relative_diversity(shares(sets @ units.kinds)).mean()
    return values


def rd_at_of_prompts(data: Data, n0: ArrayLike, rng: np.random.Generator, times: int = 1000) -> PromptValues:
    """Return RD at n0 images of every prompt and the variance that drawing its images gives it; NaN where n0 > images.

    No unbiased variance exists for n0 > n/2, so two are combined. RD folds where shares are equal: there its variance
    is a third of what its slopes say. The bootstrap sees the fold but blurs it, as redrawn shares lie further from
    equality than the true ones; this bias is taken off (Efron and Tibshirani 1993, section 10.6): twice the variance
    over `times` redraws of the images, less the mean variance over redraws of redraws. Far from balance the fold does
    not matter but rare classes do, which a redraw often lacks: there the slopes are right (the jackknife,
    each kind of image at a time). The weight of the second is `concentration`, the distance from balance.
    """
    units = as_units(data)
    value = rd_at_images(data, n0, rng)
    variance = np.full(value.shape, np.nan)
    enough = ~np.isnan(value)
    if enough.any():
        units, sizes = Units(units.kinds, units.times[enough]), np.broadcast_to(n0, value.shape)[enough]
        far = np.clip(np.nan_to_num(concentration(units.counts)), 0, 1)
        bootstrap, slopes = _bootstrap_variance(units, sizes, rng, times), _slope_variance(units, sizes)
        variance[enough] = (1 - far) * bootstrap + far * slopes
    return PromptValues(value, variance)


def _statistic(kinds: IntArray) -> Statistic:
    """Return RD at n0 images as a function of the images of each kind (T, K): for several faces, its normal form."""
    if (kinds.sum(axis=1) <= 1).all():
        return lambda times, n0: rd_at(times @ kinds, n0)
    sizes = kinds.sum(axis=1)
    low, high = np.triu_indices(kinds.shape[1], 1)
    gaps = kinds[:, low] - kinds[:, high]

    def normal(times: IntArray, n0: IntArray) -> Floats:
        """Take the gap of two classes among n0 images as normal, and return the mean of its size."""
        times, images = times.astype(np.float64), times.sum(axis=-1)
        faces = np.maximum(times @ sizes, 1.0)
        mean = (times @ gaps) / faces[..., None]
        squares = (
            times @ gaps**2 - 2 * mean * (times @ (gaps * sizes[:, None])) + mean**2 * (times @ sizes**2)[..., None]
        )
        left = np.maximum(images - n0, 0) / (np.maximum(images - 1, 1) * n0) * images / faces**2  # without replacement
        spread = np.sqrt(np.maximum(squares, 0) * left[..., None])
        ratio = np.divide(mean, spread, out=np.full(mean.shape, np.inf), where=spread > 0)
        folded = np.sqrt(2 / np.pi) * spread * np.exp(-(ratio**2) / 2) + mean * (2 * ndtr(ratio) - 1)
        return np.asarray(np.where(spread > 0, folded, np.abs(mean)).mean(axis=-1))

    return normal


def _bootstrap_variance(units: Units, n0: IntArray, rng: np.random.Generator, times: int) -> Floats:
    """Return the variance (P,) of RD at n0 images over redraws of the images, less what redrawing adds to it."""
    kinds, odds = smoothed(units.kinds, units.times)
    odds = odds / odds.sum(axis=1, keepdims=True)
    images, statistic = units.times.sum(axis=1), _statistic(kinds)

    def redrawn(shares_of_kinds: Floats, size: int) -> Floats:
        """Return RD (size, ..., P) of redraws from shares of kinds (..., P, T)."""
        step = max(1, _CHUNK_CELLS // shares_of_kinds.size)
        chunks = [min(step, size - start) for start in range(0, size, step)]
        shape = shares_of_kinds.shape[:-1]
        return np.concatenate([statistic(rng.multinomial(images, shares_of_kinds, (c, *shape)), n0) for c in chunks])

    once = redrawn(odds, times).var(axis=0, ddof=1)
    # Redraws of redraws show by how much a redraw changes the variance.
    side = max(2, int(np.sqrt(times)))
    first = rng.multinomial(images, odds, size=(side, len(odds))) / images[:, None]
    twice = redrawn(first, side).var(axis=0, ddof=1).mean(axis=0)
    return np.asarray(np.maximum(2 * once - twice, _FOLDED_VARIANCE * once))


def _slope_variance(units: Units, n0: IntArray) -> Floats:
    """Return the variance (P,) of RD at n0 images if it were linear in the images, from the effect of one of each kind.

    An image of each kind is taken away where there is one, else added. All values are at one n0 that is possible with
    one image fewer.
    """
    kinds, odds = smoothed(units.kinds, units.times)
    odds = odds / odds.sum(axis=1, keepdims=True)
    statistic, one = _statistic(kinds), np.eye(len(kinds), dtype=np.int64)
    # The images (P, T') by the smoothed kinds, of which there are none in the data that the pseudo-faces alone have.
    members = (units.kinds[:, None] == kinds).all(axis=2)
    times = units.times @ members
    images = times.sum(axis=1)[:, None]
    n0 = np.clip(images[:, 0] - 1, 1, n0)
    now = statistic(times, n0)[:, None]
    # Where there is no image of a kind, any other value may stand in: it is not used.
    fewer = statistic(np.maximum(times[:, None] - one, 0), n0[:, None])
    more = statistic(times[:, None] + one, n0[:, None])
    # Of adding or removing one image, times the number of images: the empirical influence function.
    influence = np.where(times > 0, (images - 1) * (now - fewer), (images + 1) * (more - now))
    influence = np.nan_to_num(influence)  # no face would be left, and RD at one face is always 2/K
    centred = influence - (odds * influence).sum(axis=1, keepdims=True)
    return np.asarray((odds * centred**2).sum(axis=1) / images[:, 0])
