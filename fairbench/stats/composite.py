"""The composite indices of HoloFair, with the pooling that we name: ID, CA_q, CA_mean and MGBI.

Plug-in entropies have a chance floor: of few faces they are too low. `expected_entropy` says by how much on average,
`fair` what that makes of the indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, entr, ndtri

from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.units import Data, as_units, merged

Q: Final = 0.1
"""The quantile of HoloFair's CA."""
FEWEST_IMAGES: Final = 20
"""Images with a face that a context needs on average: of fewer, the interval of CA_q covers too seldom."""
_CHUNK_CELLS: Final = 200_000
_LISTS: Final = 1000


class Indices(NamedTuple):
    """ID, CA_q, CA_mean and MGBI, each (...) over the leading axes of the counts; NaN where there is none."""

    inter_group: Floats
    worst: Floats
    mean: Floats
    mgbi: Floats


class Split(NamedTuple):
    """What each prompt is for. neutral, contexts: (P,); a prompt without a face may be in either."""

    neutral: NDArray[np.bool_]
    contexts: NDArray[np.bool_]


def margins(counts: IntArray, sizes: Sequence[int]) -> list[IntArray]:
    """Return the counts (..., K_a) of each attribute, of joint counts (..., K_1 x K_2 x ...), the last one fastest."""
    joint = counts.reshape(*counts.shape[:-1], *sizes)
    axes = range(-len(sizes), 0)
    return [joint.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]


def diversity(tables: Sequence[IntArray]) -> Floats:
    """Return the geometric mean over attributes of H(p) / log K, (...), of counts (..., K_a), an array an attribute.

    K is the number of declared classes. NaN where an attribute has no face. Source: HoloFair (arXiv 2605.24687).
    """
    entropies = []
    for counts in tables:
        total = counts.sum(axis=-1, keepdims=True)
        p = counts / np.where(total == 0, np.nan, total)
        entropies.append(np.minimum(entr(p).sum(axis=-1) / math.log(counts.shape[-1]), 1.0))
    return np.asarray(np.prod(entropies, axis=0) ** (1 / len(entropies)))


def inter_group_diversity(tables: Sequence[IntArray]) -> Floats:
    """Return ID (...): the diversity of all faces of all prompts together, of counts (..., P, K_a).

    The pooling is ours: a prompt with twice as many faces weighs twice as much.
    """
    return diversity([counts.sum(axis=-2) for counts in tables])


def worst_context(tables: Sequence[IntArray], q: float = Q) -> Floats:
    """Return CA_q (...): the q-quantile, linearly interpolated, of the diversities of prompts, counts (..., P, K_a).

    Prompts without a face are left out; they must be the same ones over all leading axes.
    """
    return _quantile(_present(diversity(tables)), q)


def mgbi(inter_group: float, context: float) -> float:
    """Return sqrt(ID x CA_.1).

    >>> round(mgbi(0.8186, 0.2865), 4)
    0.4843
    """
    return math.sqrt(inter_group * context)


def indices(counts: IntArray, sizes: Sequence[int], split: Split) -> Indices:
    """Return all indices (...) of joint counts (..., P, K); sizes: the numbers of classes whose product is K."""
    contexts = _present(diversity(margins(counts[..., split.contexts, :], sizes)))
    worst = _quantile(contexts, Q)
    mean = contexts.mean(axis=-1) if contexts.shape[-1] else np.full(contexts.shape[:-1], np.nan)
    inter_group = inter_group_diversity(margins(counts[..., split.neutral, :], sizes))
    return Indices(inter_group, worst, np.asarray(mean), np.sqrt(inter_group * worst))


def redrawn(data: Data, sizes: Sequence[int], split: Split, times: int, rng: np.random.Generator) -> Indices:
    """Return the indices (times,) of as many runs whose images are drawn again, prompt by prompt.

    From each prompt's images and one more, which is spread evenly over the classes: a prompt that shows one class
    alone would else never vary, though others like it do. The spread of the draws is the error of the *expected* index
    at these face counts.
    """
    units = as_units(data)
    classes = units.kinds.shape[1]
    even = np.full((len(units.times), classes), 1 / classes)
    kinds, weights = merged(np.vstack([units.kinds, np.eye(classes, dtype=np.int64)]), np.hstack([units.times, even]))
    images = units.times.sum(axis=1)
    odds = weights / weights.sum(axis=1, keepdims=True)
    drawn = (
        indices(rng.multinomial(images, odds, size=(count, len(odds))) @ kinds, sizes, split)
        for count in _chunks(times, weights.size)
    )
    return _joined(drawn)


def fair(
    faces: IntArray, sizes: Sequence[int], split: Split, shares: Floats, times: int, rng: np.random.Generator
) -> Indices:
    """Return the indices (times,) of fair models with as many independent faces (P,), read with these shares (K,)."""
    drawn = (
        indices(rng.multinomial(faces, shares, size=(count, len(faces))), sizes, split)
        for count in _chunks(times, len(faces) * len(shares))
    )
    return _joined(drawn)


def pooled_limits(
    counts: IntArray, sizes: Sequence[int], confidence: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Return limits of ID for other prompts, of joint counts (P, K): normal, with whole prompts drawn again."""
    prompts = len(counts)
    chosen = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=_LISTS)
    drawn = diversity(margins(chosen @ counts, sizes))
    value = float(inter_group_diversity(margins(counts, sizes)))
    reach = float(ndtri((1 + confidence) / 2) * drawn.std(ddof=1))
    return max(value - reach, 0.0), min(value + reach, 1.0)


def quantile_limits(values: Floats, q: float = Q, confidence: float = 0.95) -> tuple[float, float]:
    """Return limits of the q-quantile of the distribution that independent values (n,) in [0, 1] come from.

    Two of the sorted values: how many lie below the quantile is binomial, whatever the distribution. Where so few
    values have no such neighbour on a side, the limit is 0 or 1.
    """
    ordered, tail = np.sort(values), (1 - confidence) / 2
    below = bdtr(np.arange(len(ordered)), len(ordered), q)  # P(at most i of the values lie below the quantile)
    lower = np.flatnonzero(below <= tail)
    upper = np.flatnonzero(below >= 1 - tail)
    low = float(ordered[lower[-1]]) if lower.size else 0.0
    return low, float(ordered[upper[0]]) if upper.size else 1.0


def expected_entropy(shares: Sequence[float], faces: int) -> float:
    """Return the mean plug-in entropy / log K of so many independent faces, of classes with these shares (K,).

    Exact: each class's count is binomial, and a mean of a sum is the sum of the means. With equal shares it is what a
    perfectly fair model reads.

    >>> round(expected_entropy([0.5, 0.5], 160), 4)
    0.9955
    """
    k = np.arange(faces + 1)
    terms = entr(k / faces)
    chances = (np.diff(bdtr(k, faces, share), prepend=0.0) for share in shares)
    return float(sum(chance @ terms for chance in chances)) / math.log(len(shares))


def _present(values: Floats) -> Floats:
    """Return the values (..., P') of prompts with faces."""
    absent = np.isnan(values).any(axis=tuple(range(values.ndim - 1)))
    return values[..., ~absent]


def _quantile(values: Floats, q: float) -> Floats:
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(np.quantile(values, q, axis=-1))


def _chunks(times: int, cells: int) -> Iterator[int]:
    """Yield numbers of draws that sum to `times`, each of them small enough for a core's cache."""
    size = max(1, _CHUNK_CELLS // max(cells, 1))
    for start in range(0, times, size):
        yield min(size, times - start)


def _joined(parts: Iterator[Indices]) -> Indices:
    return Indices(*(np.concatenate(values) for values in zip(*parts, strict=True)))
