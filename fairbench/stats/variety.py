"""How varied the pictures of a class are, beside those of other classes, within prompts: arrays in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.within_prompts import Contrast

SIZES: Final = (16, 8, 4)
"""Images of a class in a prompt at which Vendi scores are taken: the largest at which at least half of what can be
compared at the smallest can still be."""
SUBSAMPLES: Final = 20
_FEWEST_PROMPTS: Final = 3.0
"""Prompts, as an effective number, below which the spread over prompts gives no interval."""


def unit(embeddings: Floats) -> Floats:
    """Return embeddings (n, D) with norm 1; one of norm 0 stays 0."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(norms > 0, norms, 1.0))


def mean_distance(units: Floats) -> float:
    """Return the mean of 1 - cosine over the pairs of n embeddings of norm 1, (n, D); NaN for fewer than two.

    Unbiased at any n. The sum over pairs is read off the sum of the embeddings.
    """
    n = len(units)
    if n < 2:
        return math.nan
    total = units.sum(axis=0)
    return float(1.0 - (total @ total - (units * units).sum()) / (n * (n - 1)))


def vendi(units: Floats) -> float:
    """Return the Vendi score of n embeddings of norm 1, (n, D): exp of the entropy of the eigenvalues of K / n.

    K holds cosines. 1 where all are alike, n where all are orthogonal; it grows with n, so only equal n compare.
    Source: Friedman and Dieng, Transactions on Machine Learning Research 2023.
    """
    eigenvalues = np.linalg.eigvalsh(units @ units.T / len(units))
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def vendi_at(units: Floats, size: int, seed: int) -> float:
    """Return the mean Vendi score of subsamples of `size`, drawn without replacement from `seed`."""
    if len(units) == size:
        return vendi(units)
    rng = np.random.default_rng(seed)
    drawn = (rng.permutation(len(units))[:size] for _ in range(SUBSAMPLES))
    return float(np.mean([vendi(units[rows]) for rows in drawn]))


@dataclass(frozen=True, slots=True)
class Variety:
    """A class's variety and that of the other classes, on the prompts where both are known; and the contrast of them.

    size: images of each class and prompt that the measure was taken at; None for any number.
    """

    value: float
    others: float
    contrast: Contrast
    size: int | None = None


def distances(units: Floats, prompt: IntArray, code: IntArray, classes: int) -> list[Variety]:
    """Return for each class how far apart its pictures of a prompt are, beside those of each other class.

    units: (N, D), of norm 1. prompt, code: (N,); code -1 is an image that shows no class alone, and is left out.
    """
    return _of_classes(units, prompt, code, classes, 2, lambda rows, _: mean_distance(rows), None)


def vendis(units: Floats, prompt: IntArray, code: IntArray, classes: int) -> list[Variety]:
    """Return the same for the Vendi score, at an equal number of images of every class and prompt; see SIZES."""
    size = _size(prompt, code, classes)
    return _of_classes(units, prompt, code, classes, size, lambda rows, seed: vendi_at(rows, size, seed), size)


def _size(prompt: IntArray, code: IntArray, classes: int) -> int:
    counts = _counts(prompt, code, classes)

    def comparable(size: int) -> int:
        enough = counts >= size
        return int((enough & (enough.sum(axis=1, keepdims=True) >= 2)).sum())

    most = comparable(SIZES[-1])
    return next((size for size in SIZES if most and 2 * comparable(size) >= most), SIZES[-1])


def _counts(prompt: IntArray, code: IntArray, classes: int) -> IntArray:
    known = code >= 0
    prompts = int(prompt.max(initial=-1)) + 1
    cells = np.bincount(prompt[known] * classes + code[known], minlength=prompts * classes)
    return np.asarray(cells.reshape(prompts, classes))


def _of_classes(
    units: Floats,
    prompt: IntArray,
    code: IntArray,
    classes: int,
    fewest: int,
    measure: Callable[[Floats, int], float],
    size: int | None,
) -> list[Variety]:
    counts = _counts(prompt, code, classes)
    values = np.full(counts.shape, np.nan)
    for p, c in np.argwhere(counts >= fewest):
        values[p, c] = measure(units[(prompt == p) & (code == c)], int(p) * classes + int(c))
    return [_contrast(values, counts, c, size) for c in range(classes)]


def _contrast(values: Floats, counts: IntArray, own: int, size: int | None) -> Variety:
    """Return the contrast of a class. values, counts: (P, K), of every prompt and class; values are NaN where unknown.

    Sum w_p d_p with d_p the class's value minus the mean of the other classes', each within itself, as a mixture of
    classes would be more varied than any; w_p goes as n_1 n_0 / (n_1 + n_0). The error is of the spread of d_p over
    prompts (HC2), with the weights' effective number of prompts less 1 as its degrees of freedom.
    """
    rest = np.delete(np.arange(values.shape[1]), own)
    known = ~np.isnan(values[:, rest])
    both = ~np.isnan(values[:, own]) & known.any(axis=1)
    n_own, n_rest = counts[both, own], (counts[:, rest] * known).sum(axis=1)[both]
    counted = {"prompts": int(both.sum()), "of_class": int(n_own.sum()), "of_others": int(n_rest.sum())}
    if not both.any():
        return Variety(math.nan, math.nan, Contrast(math.nan, math.nan, math.nan, math.nan, **counted), size)
    others = np.nanmean(values[np.ix_(both, rest)], axis=1)
    weights = n_own * n_rest / (n_own + n_rest)
    weights = weights / weights.sum()
    difference = values[both, own] - others
    estimate, effective = float(weights @ difference), 1.0 / float((weights**2).sum())
    error = df = p = math.nan
    if effective >= _FEWEST_PROMPTS:
        error = math.sqrt(float((weights**2 * (difference - estimate) ** 2 / (1 - weights)).sum()))
    if error > 0:
        df = effective - 1.0
        p = float(2 * stats.t.sf(abs(estimate) / error, df))
    else:
        error = math.nan
    contrast = Contrast(estimate, error, df, p, **counted)
    return Variety(float(weights @ values[both, own]), float(weights @ others), contrast, size)
