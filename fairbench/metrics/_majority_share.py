"""The share of the most frequent class."""

from __future__ import annotations

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def largest_share(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return max_k p_k of shares p[..., K]; `ref` is not used.

    Range [1/K, 1]: 1/K is balance (so the ideal depends on K and the spec holds none), 1 is one class alone. Lower is
    fairer. It says nothing about how the rest is divided. The majority class may differ from prompt to prompt.

    Source: the dominance index of Berger and Parker, Science 168, 1970.

    >>> import numpy as np
    >>> largest_share(np.array([[0.5, 0.25, 0.25, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    array([0.5 , 0.25])
    """
    largest: FloatArray = p.max(axis=-1)
    return largest


majority_share = ShareMetric(
    MetricSpec(
        name="majority-share",
        version=1,
        direction="lower",
        bounds="[1/K, 1]",
        limits=lambda k: (1 / k, 1.0),
        ideal=None,
        summary="share of the most frequent class; 1/K is balance",
    ),
    largest_share,
)
