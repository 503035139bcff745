"""Worst cases for images on which people cannot decide: to which groups they would have to belong."""

from __future__ import annotations

import numpy as np

from fairbench.stats.prediction import LabelledSample
from fairbench.types import FloatArray


def worst_cases(sample: LabelledSample, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the groups to which a prompt's undecided images are given, as shares (..., P, K) that sum to 1.

    First where concentration is lowest: they fill up the smallest groups to one level. Then where it is highest: all of
    them to the largest. Which groups these are comes from the prompt's readings and other prompts' labels
    (`predictions`), never from its own labels, so that estimates with them stay unbiased.
    """
    k = sample.classes
    images = np.maximum(sample.sizes.sum(axis=-1), 1)[..., None]
    shares = (sample.images.sum(axis=-2)[..., None, :] @ predicted)[..., 0, :] / images
    groups, undecided = shares[..., :k], np.maximum(shares[..., k:], 1e-9)
    ordered = np.sort(groups, axis=-1)
    # The level to which the undecided fill the j smallest groups, for every j; the lowest of these levels is reached.
    levels = (np.cumsum(ordered, axis=-1) + undecided) / np.arange(1, k + 1)
    filled = np.maximum(levels.min(axis=-1, keepdims=True) - groups, 0)
    return filled / filled.sum(axis=-1, keepdims=True), np.eye(k)[groups.argmax(axis=-1)]
