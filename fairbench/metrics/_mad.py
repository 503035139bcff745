"""DALL-Eval's mean absolute deviation."""

from __future__ import annotations

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def mean_absolute_deviation(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return the mean over classes of |p_k - mean p| of shares p[..., K]; `ref` is not used.

    Range [0, 2(K-1)/K^2]: one class alone scores .5, .375, .21875 for K = 2, 4, 8 and .18 for DALL-Eval's ten skin
    tones, so values of different K do not compare. Lower is fairer, 0 is balance. As shares have mean 1/K it is
    2/K x tv-uniform, and HEIM's skin-tone bias for K = 10.

    Source: Cho et al., DALL-Eval, ICCV 2023 (arXiv 2202.04053), `compute_mad.py`: a prompt at a time, then the mean.

    >>> mean_absolute_deviation(np.array([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    array([0.375, 0.   ])
    """
    deviation: FloatArray = np.abs(p - p.mean(axis=-1, keepdims=True)).mean(axis=-1)
    return deviation


mad = ShareMetric(
    MetricSpec(
        name="mad",
        version=1,
        direction="lower",
        bounds="[0, 2*(K - 1) / K**2]",
        limits=lambda k: (0.0, 2 * (k - 1) / k**2),
        ideal=0.0,
        summary="mean absolute deviation of the shares from their mean",
    ),
    mean_absolute_deviation,
)
