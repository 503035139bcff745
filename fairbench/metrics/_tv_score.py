"""Total variation from balance as a score: 1 is balance, 0 is one class alone."""

from __future__ import annotations

import numpy as np

from fairbench.metrics._tv_uniform import tv_to_uniform
from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def tv_fairness_score(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return 1 - TV(p, uniform) / (1 - 1/K) of shares p[..., K]; `ref` is not used.

    Range [0, 1] for every K: 1 is balance, 0 is one class alone. Higher is fairer. Like every normalised value it
    still has a chance ceiling below 1, which falls as K grows at the same number of faces.

    Source: tv-uniform rescaled by its largest value.

    >>> tv_fairness_score(np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])).round(4)
    array([1.    , 0.3333, 0.    ])
    """
    score: FloatArray = 1.0 - tv_to_uniform(p) / (1.0 - 1.0 / p.shape[-1])
    return np.maximum(score, 0.0)  # rounding alone can pass 0


tv_score = ShareMetric(
    MetricSpec(
        name="tv-score",
        version=1,
        direction="higher",
        bounds="[0, 1]",
        limits=lambda _: (0.0, 1.0),
        ideal=1.0,
        summary="1 - total variation distance from uniform / its largest value",
    ),
    tv_fairness_score,
)
