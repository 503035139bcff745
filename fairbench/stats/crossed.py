"""Subjects in several wordings: where the variance of class shares lies, and how far ranks move between wordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.intervals import Z_95, smoothed, sum_of_squares
from fairbench.stats.units import Data, as_units

PARTS: Final = ("subject", "wording", "subject x wording")
"""What the variance over prompts consists of."""
_GRID: Final = np.linspace(0.0, 1.0, 2001)
"""Shares of variance that the limits of an interval are taken from."""
_CHUNK_CELLS: Final = 1 << 20
FEWEST_IMAGES: Final = 2
"""Images with a face that a cell takes: noise is judged from differences between the images of one prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """The variance of class shares over S subjects in W wordings each, of this list, without the noise of the images.

    total: mean squared distance of a prompt's true shares from the mean of all, summed over the classes, with limits
    low and high. shares: (3,), the parts of the total that PARTS have, which add up to 1; lows, highs: (3,), limits of
    them. All NaN where the prompts are not shown to differ. Values are not cut; limits are, at the possible.
    """

    total: float
    low: float
    high: float
    shares: Floats
    lows: Floats
    highs: Floats
    subjects: int


def usable(data: Data, cells: IntArray) -> NDArray[np.bool_]:
    """Return which subjects (S,) have enough images with a face in every wording. cells: (S, W), places of prompts."""
    images = as_units(data).times.sum(axis=1)
    return np.asarray((images[cells] >= FEWEST_IMAGES).all(axis=1))


def decompose(data: Data, cells: IntArray) -> Decomposition:
    """Return where the variance over prompts lies. cells: (S, W), the places in `data` of each subject's wordings.

    With p_sw the true shares of a cell, and dots for means: subject sum_s |p_s. - p_..|^2 / S, wording
    sum_w |p_.w - p_..|^2 / W, the rest |p_sw - p_s. - p_.w + p_..|^2 / SW. Each is a quadratic form in the shares;
    that of the observed ones is too large by what drawing images adds, which is known without bias from the images of
    each cell and is taken away. Limits of a part R are all values at which (part - R total) is within 1.96 standard
    errors of 0 (Fieller 1954): a ratio has no symmetric interval. The standard error is that of a quadratic form in
    independent means; the images are all that is drawn at random.

    Subjects with a cell of fewer than FEWEST_IMAGES images with a face are left out.
    """
    cells = cells[usable(data, cells)]
    (s, w), nan = cells.shape, float("nan")
    unknown = np.full(len(PARTS), nan)
    if s < 2 or w < 2:
        return Decomposition(nan, nan, nan, unknown, unknown, unknown, s)
    units = as_units(data)
    kinds, times = units.kinds, units.times[cells.ravel()]
    parts, share = variances(data, cells), _moments(kinds, times.astype(np.float64))[0]
    away = _parts(share.reshape(s, w, -1))
    errors = _Errors(*_variances(away, *smoothed(kinds, times)))
    total, reach = float(parts.sum()), Z_95 * float(errors.of(np.ones(len(PARTS))))
    if total <= reach:
        return Decomposition(total, max(total - reach, 0.0), total + reach, unknown, unknown, unknown, s)
    limits = [_limits(parts, i, errors) for i in range(len(PARTS))]
    lows, highs = (np.array(side) for side in zip(*limits, strict=True))
    factor = float(np.exp(reach / total))  # its error grows with the value
    return Decomposition(total, total / factor, total * factor, parts / total, lows, highs, s)


@dataclass(frozen=True, slots=True, eq=False)
class _Errors:
    """Covariance of the parts' estimates: forms (3, 3), linear in the shares and of noise alone; see `_variances`.

    slope: by how much a part's variance grows with the part.
    """

    linear: Floats
    quadratic: Floats
    slope: float

    def of(self, weights: Floats, more: Floats | float = 0.0) -> Floats:
        """Return the standard errors (...) of weighted sums (..., 3) of the parts; more: (...), added variance."""
        plug_in, least = (np.einsum("...i,ij,...j", weights, form, weights) for form in (self.linear, self.quadratic))
        # The plug-in holds the quadratic part twice too often, and never less than it is left.
        return np.asarray(np.sqrt(np.maximum(plug_in - least + more, least)))


def variances(data: Data, cells: IntArray) -> Floats:
    """Return the variance that each of PARTS has over the prompts of these cells (S, W), without bias; (3,)."""
    units = as_units(data)
    share, _, noise = _moments(units.kinds, units.times[cells.ravel()].astype(np.float64))
    away = _parts(share.reshape(*cells.shape, -1))
    added = _diagonal(*cells.shape) * np.trace(noise, axis1=1, axis2=2).mean()
    return np.asarray((away**2).sum(axis=3).mean(axis=(1, 2)) - added)


def _diagonal(s: int, w: int) -> Floats:
    """Return what one cell adds to each part of itself (3,): the diagonal of the part's quadratic form, times SW."""
    return np.array([(1 - 1 / s) / w, (1 - 1 / w) / s, (1 - 1 / s) * (1 - 1 / w)])


def _moments(kinds: IntArray, times: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the class shares (C, K) of cells, what an image of each kind does to them, and their covariances.

    Influences (C, T, K): of times (C, T) images. Covariances (C, K, K): what drawing the images gives the shares.
    Unbiased where images show one face each; of several, a share is a ratio of sums and this its linear approximation.
    """
    sizes, images = kinds.sum(axis=1), times.sum(axis=1)
    faces = times @ sizes
    share = times @ kinds / faces[:, None]
    influence = (kinds[None] - share[:, None] * sizes[None, :, None]) * (images / faces)[:, None, None]
    squares = np.einsum("ct,cti,ctj->cij", times, influence, influence, optimize=True)
    return share, influence, squares / (images * (images - 1))[:, None, None]


def _parts(share: Floats) -> Floats:
    """Return what of the shares (S, W, K) belongs to each of PARTS, (3, S, W, K)."""
    subject, wording, mean = share.mean(axis=1, keepdims=True), share.mean(axis=0, keepdims=True), share.mean((0, 1))
    parts = (subject - mean, wording - mean, share - subject - wording + mean)
    return np.stack([np.broadcast_to(part, share.shape) for part in parts])


def _variances(away: Floats, kinds: IntArray, times: Floats) -> tuple[Floats, Floats, float]:
    """Return two forms (3, 3) of the covariance of the parts' estimates, linear and of noise alone, and a slope.

    away: (3, S, W, K). times: (SW, T). For the form M of a part, sum M_cd p_c . p_d,
    they are 4 sum_c g_c' C_c g_c with g = M p and C_c the covariance of a cell's shares, and 2 sum M_cd^2 tr(C_c C_d).
    M_cd takes four values only: by whether two cells have the subject, and whether they have the wording, in common.
    The slope is that of the linear form in a part, were its direction as likely as any other.
    """
    s, w = away.shape[1:3]
    _, influence, noise = _moments(kinds, times)
    images = times.sum(axis=1)
    # How far one image moves a part, with g from the other images: where shares are one-sided, images that move g most
    # are also the rare ones that make the variance, and with themselves in g it would be too small by 4 / images.
    own = np.einsum("a,cti,cti->act", _diagonal(s, w), influence, influence) / (images - 1)[:, None]
    pull = np.einsum("aci,cti->act", away.reshape(len(away), s * w, -1), influence) - own
    pull -= (np.einsum("act,ct->ac", pull, times) / images)[:, :, None]
    linear = 4 * np.einsum("act,bct,ct->ab", pull, pull, times / (images * (images - 1))[:, None]) / (s * w) ** 2
    noise = noise.reshape(s, w, *noise.shape[1:])
    same_subject, same_wording = np.array([1, 1, 0, 0]) - 1 / s, np.array([1, 0, 1, 0]) - 1 / w
    entries = np.array([same_subject / w, same_wording / s, same_subject * same_wording]) / (s * w)
    both = (noise**2).sum()
    subject, wording, every = ((noise.sum(axis=axes) ** 2).sum() for axes in (1, 0, (0, 1)))
    pairs = np.array([both, subject - both, wording - both, every - subject - wording + both])
    slope = 4 * float(np.trace(noise, axis1=2, axis2=3).mean()) / (s * w * (noise.shape[3] - 1))
    return linear, 2 * (entries * pairs) @ entries.T, slope


def _limits(parts: Floats, index: int, errors: _Errors) -> tuple[float, float]:
    """Return the lowest and the highest share in _GRID that the part of this index may have of the total.

    Where a part is too small by chance, so is its variance: as in Wilson's interval (1927), that at the limit counts.
    """
    weights = np.eye(len(parts))[index] - _GRID[:, None]
    beyond = _GRID * parts.sum() - parts[index]
    distance = np.abs(weights @ parts) - Z_95 * errors.of(weights, weights[:, index] ** 2 * errors.slope * beyond)
    (inside,) = np.nonzero(distance <= 0)
    if not len(inside):  # an estimate far beyond the possible
        inside = np.array([int(distance.argmin())])
    low, high = int(inside[0]), int(inside[-1])
    return _crossing(distance, low, low - 1), _crossing(distance, high, high + 1)


def _crossing(distance: Floats, inside: int, outside: int) -> float:
    """Return where between two neighbours in _GRID a distance becomes 0; the end of the grid where there is none."""
    if not 0 <= outside < len(_GRID):
        return float(_GRID[inside])
    weight = np.clip(distance[inside] / (distance[inside] - distance[outside]), 0.0, 1.0)
    return float(_GRID[inside] + weight * (_GRID[outside] - _GRID[inside]))


def rank_agreement(values: Floats) -> Floats:
    """Return Spearman's correlation (...) of subjects' ranks in two wordings, the mean over all pairs of wordings.

    values: (..., S, W). Ties have mean ranks. A wording in which all subjects tie has no correlation, and is left out;
    NaN where fewer than two are left.
    """
    ranks = rankdata(values, axis=-2)
    away = ranks - ranks.mean(axis=-2, keepdims=True)
    length = np.sqrt((away**2).sum(axis=-2, keepdims=True))
    ranked = length[..., 0, :] > 0
    unit = away / np.where(length > 0, length, 1.0)
    # The sum over pairs of wordings of inner products, from the length of the sum of all.
    pairs = ((unit.sum(axis=-1) ** 2).sum(axis=-1) - ranked.sum(axis=-1)) / 2
    count = ranked.sum(axis=-1)
    return np.asarray(np.where(count > 1, pairs / np.maximum(count * (count - 1) / 2, 1), np.nan))


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """The agreement of ranks between wordings. unmoved: what it is on average if the wording changes nothing.

    low, high: what 95 % of such draws lie between. All NaN for fewer than three subjects.
    """

    value: float
    unmoved: float
    low: float
    high: float
    subjects: int


def ranks_of_concentration(data: Data, cells: IntArray, rng: np.random.Generator, draws: int = 400) -> RankAgreement:
    """Return how far the order of subjects by concentration agrees between wordings. cells: (S, W), see `decompose`.

    Noise alone moves ranks, too. If the wording changes nothing, a subject's images can be dealt out anew among its
    wordings, as many to each as it has, whatever the true shares are: so are the draws made.
    """
    units, keep = as_units(data), usable(data, cells)
    cells, nan = cells[keep], float("nan")
    if len(cells) < 3 or cells.shape[1] < 2:
        return RankAgreement(nan, nan, nan, nan, len(cells))
    times = units.times[cells]
    value = float(rank_agreement(_concentration(units.kinds, times)))
    if np.isnan(value):
        return RankAgreement(nan, nan, nan, nan, len(cells))
    chunk = max(1, _CHUNK_CELLS // times.size)
    parts = [min(chunk, draws - start) for start in range(0, draws, chunk)]
    dealt = np.concatenate([rank_agreement(_concentration(units.kinds, _deal(times, n, rng))) for n in parts])
    dealt = dealt[~np.isnan(dealt)]
    low, high = np.quantile(dealt, [0.025, 0.975])
    return RankAgreement(value, float(dealt.mean()), float(low), float(high), len(cells))


def _concentration(kinds: IntArray, times: IntArray) -> Floats:
    """Return the unbiased concentration (..., S, W) of cells with times (..., S, W, T) images of each kind."""
    same = sum_of_squares(kinds, times.reshape(-1, times.shape[-1]))[0].reshape(times.shape[:-1])
    return np.asarray(np.round(same, 12))  # equal shares tie, however they were summed; ranks need no rescaling


def _deal(times: IntArray, draws: int, rng: np.random.Generator) -> IntArray:
    """Return draws (D, S, W, T) of each subject's images dealt out anew among its wordings. times: (S, W, T)."""
    left = np.repeat(times.sum(axis=1)[None], draws, axis=0)
    hands = np.zeros((draws, *times.shape), dtype=np.int64)
    for wording, size in enumerate(times.sum(axis=2).T):
        wanted = np.broadcast_to(size, left.shape[:2]).copy()
        for kind in range(times.shape[2]):
            of_kind, others = left[..., kind], left[..., kind + 1 :].sum(axis=-1)
            hand = rng.hypergeometric(of_kind, others, wanted)
            hands[:, :, wording, kind] = hand
            wanted -= hand
        left = left - hands[:, :, wording]
    return hands
