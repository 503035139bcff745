"""How often a comparison over this list finds a difference: its test, simulated.

No normal approximation will do. Where a run shows one class alone, a few faces of the others decide; near balance the
estimate is skewed; and everywhere the standard error that a comparison states rises and falls with the estimate.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from scipy.special import bdtrik, ndtr, ndtri

from fairbench.stats.estimands import IntArray, concentration, concentration_of_shares
from fairbench.stats.intervals import FEWEST_IMAGES, PSEUDO_IMAGES, stated_variance
from fairbench.types import FloatArray

_POOL: Final = 4_000
"""Simulated prompts of each run, of which lists are put together."""
_MAX_PROMPTS: Final = 200
"""Prompts of a list that is simulated; over more, the statistic is normal."""
_RARE: Final = 0.2
"""Share of all classes but the largest below which so few faces show them that their number is spread evenly."""
_STEPS: Final = 12
_LISTS: Final = 2_000

Runs = tuple[FloatArray, FloatArray]
"""The shares (S, K) of both runs as the classifier reads them."""


class _Pool(NamedTuple):
    """Simulated prompts (S, N) of S kinds: what their estimates are off, the variance that a comparison states of them,
    and by how much it grows per unit by which the mean is supposed to be higher.
    """

    deviation: FloatArray
    stated: FloatArray
    steepness: FloatArray


def power_over_list(alpha: float, runs: Runs, images: int, face_rate: float, prompts: int) -> float:
    """Return the share of simulated lists of prompts in which the two-sided test of level `alpha` rejects.

    images: per prompt and run, each with a face with probability face_rate. The S kinds of prompts are equally
    frequent. The test of a list is that of `difference.concentration_difference`, with one face per image.
    """
    rng = np.random.default_rng(0)
    effect = float((concentration_of_shares(runs[1]) - concentration_of_shares(runs[0])).mean())
    pools = [_pool(run.tobytes(), run.shape, images, face_rate, prompts) for run in runs]
    z = float(ndtri(1 - alpha / 2))
    if prompts > _MAX_PROMPTS:
        return _power_of_many(effect, z, pools, prompts)
    kinds, size = pools[0].deviation.shape
    kind = ((np.arange(prompts) + rng.random((_LISTS, 1))) * kinds / prompts).astype(np.int64)
    difference, variance, steepness = np.full(_LISTS, effect), np.zeros(_LISTS), []
    for sign, pool in zip((-1, 1), pools, strict=True):
        drawn = kind * size + rng.integers(size, size=kind.shape)
        off, stated, steep = (each.ravel()[drawn].mean(axis=1) for each in pool)
        difference += sign * off
        variance += stated / prompts
        steepness.append(steep / prompts)
    # Were there no difference, the run that lies lower would have to lie higher.
    variance += np.where(difference < 0, steepness[1], steepness[0]) * np.abs(difference)
    return float((difference**2 >= z**2 * variance).mean())


def _power_of_many(effect: float, z: float, pools: list[_Pool], prompts: int) -> float:
    """Return the power over so many prompts that their mean is normal and its stated error certain."""
    stated = sum(float(pool.stated.mean()) for pool in pools) / prompts
    spread = max(math.sqrt(sum(float((pool.deviation**2).mean()) for pool in pools) / prompts), 1e-12)
    halves = [z**2 * float(pool.steepness.mean()) / prompts / 2 for pool in pools]
    above, below = (half + math.hypot(half, z * math.sqrt(stated)) for half in halves)
    return float(ndtr((effect - above) / spread) + ndtr((-effect - below) / spread))


def _counts(run: FloatArray, images: int, face_rate: float, size: int, rng: np.random.Generator) -> IntArray:
    """Return the faces by class (S, N, K) of N prompts of each kind (S, K), the largest class first.

    At least as many as make a prompt count. Where the other classes are rare, the numbers of the largest are quantiles:
    so is what decides there no less even among N prompts than among all.
    """
    shares = -np.sort(-run, axis=1)
    faces = np.maximum(rng.binomial(images, face_rate, (len(run), size)), FEWEST_IMAGES)
    counts = rng.multinomial(faces, shares[:, None])
    rare = (shares[:, 0] < 1) & (shares[:, 0] > 1 - _RARE)
    level = (np.arange(size) + rng.random((rare.sum(), size))) / size
    first = np.ceil(bdtrik(level, faces[rare], shares[rare, :1]) - 1e-9).clip(0, faces[rare]).astype(np.int64)
    others = shares[rare, 1:] / shares[rare, 1:].sum(axis=1, keepdims=True)
    counts[rare] = np.concatenate([first[..., None], rng.multinomial(faces[rare] - first, others[:, None])], axis=-1)
    return np.asarray(counts)


@lru_cache(maxsize=8)  # a search over changes asks for the same run A again
def _pool(run: bytes, shape: tuple[int, int], images: int, face_rate: float, prompts: int) -> _Pool:
    shares = np.frombuffer(run).reshape(shape)
    counts = _counts(shares, images, face_rate, -(-_POOL // len(shares)), np.random.default_rng(1))
    value = concentration(counts)
    centred = value - value.mean(axis=1, keepdims=True)  # as one pool stands for all lists
    return _Pool(centred, stated_variance(counts, prompts), _steepness(counts, prompts))


def _steepness(counts: IntArray, prompts: int) -> FloatArray:
    """Return what prompts (...) of a task of so many add to P times `Effect.steeper`, of counts (..., K).

    Four times the largest eigenvalue of the covariance of the shares p, on the scale of concentration, and half of it,
    as both runs have as many images: of (diag p - pp') / (n - 1), where sum p_k^2 / (p_k - x) reaches 1 between the
    second largest and the largest share.
    """
    classes = counts.shape[-1]
    weights = counts + PSEUDO_IMAGES / prompts / classes
    images = weights.sum(axis=-1)
    p = np.sort(weights / images[..., None], axis=-1)
    low, high = p[..., -2], p[..., -1]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        gap = p - middle[..., None]
        over = (p**2 / np.where(gap == 0, np.inf, gap)).sum(axis=-1) > 1
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.asarray(2 * classes / (classes - 1) * (low + high) / 2 / (images - 1))
