"""The smallest share over the largest: the "80 % rule" of disparate impact."""

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def _share_ratio(p: FloatArray, ref: FloatArray | None) -> FloatArray:
    return np.min(p, axis=-1) / np.max(p, axis=-1)


share_ratio = ShareMetric(
    MetricSpec(
        "share-ratio", 1, "higher", "[0, 1]", 1.0, "smallest share over the largest", limits=lambda _: (0.0, 1.0)
    ),
    _share_ratio,
)
