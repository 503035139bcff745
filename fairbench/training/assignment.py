"""Which class each image of a prompt is to show, so that together they have the target's shares with the least change.

Shen et al., "Finetuning Text-to-Image Diffusion Models for Fairness" (ICLR 2024): classes are drawn from the target and
assigned by optimal transport; what counts is the mean over many such draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fairbench.types import FloatArray

DRAWS: Final = 100
"""Draws of the target, as in the authors' code."""
UNCERTAIN: Final = -1
"""Target of an image that is left alone."""


def costs(probabilities: Sequence[FloatArray], labels: NDArray[np.int64]) -> FloatArray:
    """Return how far each image is from each group, (images, groups): the distance of its probabilities from 0 and 1.

    probabilities: of every attribute, (images, its labels). labels: index of every attribute's label in each group,
    (groups, attributes).
    """
    squares = [
        ((p[:, None, :] - np.eye(p.shape[1])[of_groups]) ** 2).sum(axis=2)
        for p, of_groups in zip(probabilities, labels.T, strict=True)
    ]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)))


def assigned(cost: FloatArray, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the group of each image, (images,): those of `groups`, each used once, at the least total cost."""
    images, slots = linear_sum_assignment(cost[:, groups])
    result = np.empty(len(groups), dtype=np.int64)
    result[images] = groups[slots]
    return result


def expected(cost: FloatArray, shares: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return how often each image is assigned each group, (images, groups), over DRAWS draws of a group per image.

    shares: the target, (groups,).
    """
    images, groups = cost.shape
    counts = np.zeros((images, groups))
    for _ in range(DRAWS):
        counts[np.arange(images), assigned(cost, np.asarray(rng.choice(groups, size=images, p=shares)))] += 1
    return counts / DRAWS


def targets(shares: FloatArray, labels: NDArray[np.int64], uncertainty: float) -> NDArray[np.int64]:
    """Return the label that each image is to show of every attribute, (images, attributes), or UNCERTAIN.

    shares: as `expected` returns them. labels: see `costs`. uncertainty: the largest share of draws in which an image
    may be assigned another label of the attribute.
    """
    columns = []
    for of_groups in labels.T:
        per_label = np.stack(
            [shares[:, of_groups == label].sum(axis=1) for label in range(of_groups.max() + 1)], axis=1
        )
        # A share is a sum of hundredths: what is exactly at the threshold is not to depend on their rounding.
        certain = 1 - per_label.max(axis=1) <= uncertainty + 1e-9
        columns.append(np.where(certain, per_label.argmax(axis=1), UNCERTAIN))
    return np.stack(columns, axis=1)
