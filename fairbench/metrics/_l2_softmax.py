"""Fairness discrepancy of Choi et al.: how far mean class probabilities lie from uniform."""

from __future__ import annotations

import math

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def l2_to_uniform(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return sqrt(sum (p_k - 1/K)^2) of *mean class probabilities* p[..., K]; `ref` is not used.

    Range [0, sqrt(1 - 1/K)]: 0 is balance. Lower is fairer. Its input is the classifier's softmax averaged over faces,
    not the shares of hard labels: an unsure classifier's flat probabilities pull the value towards 0. So it compares
    models only under the same labeller, and a low value may be the classifier's doubt, not the model's balance.

    Source: the fairness discrepancy of Choi et al., ICML 2020 (arXiv 1910.12008). DiffLens (Shi et al., CVPR 2025,
    arXiv 2503.20483, `evaluation/Fairface`) has the same formula; for race it takes the first four of FairFace's seven
    columns (White, Black, Latino, East Asian), so its race numbers are of other classes than ours.

    >>> l2_to_uniform(np.array([[0.5, 0.5], [0.8, 0.2], [1.0, 0.0]])).round(4)
    array([0.    , 0.4243, 0.7071])
    """
    squared: FloatArray = np.square(p - 1.0 / p.shape[-1]).sum(axis=-1)
    return np.sqrt(squared)


l2_softmax = ShareMetric(
    MetricSpec(
        name="l2-softmax",
        version=1,
        direction="lower",
        bounds="[0, sqrt(1 - 1/K)]",
        limits=lambda k: (0.0, math.sqrt(1 - 1 / k)),
        ideal=0.0,
        summary="L2 distance of mean class probabilities from uniform",
        input="mean_probs",
    ),
    l2_to_uniform,
)
