"""RD, "relative diversity": the mean gap between two classes' shares."""

from __future__ import annotations

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def relative_diversity(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return RD = sum over i < j of |p_i - p_j| / (K(K-1)/2) of shares p[..., K]; `ref` is not used.

    Range [0, 2/K]: one class alone scores 1, 0.5, 0.25 for K = 2, 4, 8, so values of different K do not compare (see
    rd-normalised). Lower is fairer, 0 is balance. A balanced model scores above 0 by chance, the more so the fewer the
    faces: .063, .045, .031 (K = 2, 4, 8) at 160 faces, .103, .073, .051 at 60.

    The sum over pairs is taken as the sum over r < K/2 of (K - 1 - 2r) x (r-th largest - r-th smallest share): no
    K x K array, no negative term, and equal shares give exactly 0.

    Source: the bias of Shen et al., "Finetuning Text-to-Image Diffusion Models for Fairness", ICLR 2024; used as RD by
    Liu et al., "On Fairness of Unified Multimodal Large Language Model for Image Generation", NeurIPS 2025
    (arXiv 2502.03429).

    >>> relative_diversity(np.array([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]))
    array([0.5, 0. , 1. ])
    >>> float(relative_diversity(np.array([1.0, 0.0, 0.0, 0.0])))
    0.5
    """
    k = p.shape[-1]
    half = k // 2
    # np.sort puts NaN last, where its weight is never 0: one NaN class makes the value NaN.
    ordered = np.sort(p, axis=-1)
    spread = ordered[..., ::-1][..., :half] - ordered[..., :half]
    weights = (k - 1 - 2 * np.arange(half)) / (k * (k - 1) / 2)
    value: FloatArray = (spread * weights).sum(axis=-1)
    return value


rd = ShareMetric(
    MetricSpec(
        name="rd",
        version=1,
        direction="lower",
        bounds="[0, 2/K]",
        limits=lambda k: (0.0, 2 / k),
        ideal=0.0,
        summary="relative diversity: mean gap between two classes' shares",
    ),
    relative_diversity,
)
