"""Concentration of all faces of a task together: prompts that lean opposite ways cancel here."""

from __future__ import annotations

import numpy as np

from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.intervals import (
    FEWEST_IMAGES,
    PromptValues,
    concentration_of_prompts,
    smoothed,
    upper_variance,
)
from fairbench.stats.units import Data, Units, as_units


def pooled_concentration(data: Data) -> PromptValues:
    """Return concentration of the shares of all faces together, and its variance, as values (1,) of a single prompt.

    Every *face* weighs the same, over the prompts that have a concentration of their own (four images with a face).
    Unbiased: products of the counts of two prompts are those of independent images; within a prompt they are taken over
    pairs of faces from different images. The variance is that of a quadratic form of the shares, whose errors are taken
    as normal and come from the images of each prompt: with the covariance matrix V of the pooled shares p,
    4 p'Vp - 2 tr V^2, and not below 2 tr V^2, what remains at balance. For the upper limit, as if all images were of
    one prompt, which is cautious. With one prompt it is that prompt's; NaN with none.
    """
    units = as_units(data)
    enough = units.times.sum(axis=1) >= FEWEST_IMAGES
    times, kinds = units.times[enough], units.kinds
    if len(times) == 0:
        return PromptValues(np.full(1, np.nan), np.full(1, np.nan))
    if len(times) == 1:
        return concentration_of_prompts(Units(kinds, times))
    classes = kinds.shape[1]
    counts, sizes = times @ kinds, kinds.sum(axis=1)
    faces, all_faces = counts.sum(axis=1), counts.sum()
    squares = (counts**2).sum(axis=1)
    of_pairs = (squares - times @ (kinds**2).sum(axis=1)) / (faces**2 - times @ sizes**2)
    same = ((counts.sum(axis=0) ** 2).sum() - squares.sum() + (faces**2 * of_pairs).sum()) / all_faces**2
    scale = classes / (classes - 1)
    value = np.array([scale * same - 1 / (classes - 1)])
    variance = np.array([_variance(kinds, times) * scale**2])
    return PromptValues(value, variance, upper_variance(value, variance, kinds, times.sum(axis=0)[None]))


def _variance(kinds: IntArray, times: IntArray) -> float:
    """Return the variance of the sum of squares of the pooled shares, from the images of each prompt."""
    shares = (times @ kinds).sum(axis=0) / (times @ kinds).sum()
    kinds, weights = smoothed(kinds, times)
    counts, sizes = weights @ kinds, kinds.sum(axis=1)
    own_shares = counts / counts.sum(axis=1, keepdims=True)
    covariance: Floats = np.zeros((len(shares), len(shares)))
    for of_prompt, p in zip(weights, own_shares, strict=True):
        residual, images = kinds - sizes[:, None] * p, of_prompt.sum()
        covariance += (residual * of_prompt[:, None]).T @ residual * images / (images - 1)
    covariance /= counts.sum() ** 2
    at_balance = 2 * float((covariance**2).sum())
    return max(4 * float(shares @ covariance @ shares) - at_balance, at_balance)
