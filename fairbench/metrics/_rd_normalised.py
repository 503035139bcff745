"""RD scaled to [0, 1], comparable over the number of classes."""

from __future__ import annotations

from fairbench.metrics._rd import relative_diversity
from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def normalised_relative_diversity(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return RD x K/2 = sum over i < j of |p_i - p_j| / (K - 1) of shares p[..., K]; `ref` is not used.

    Range [0, 1] for every K: 0 is balance, 1 is one class alone. Lower is fairer. The chance floor is scaled with it
    and so grows with K: .063, .089, .126 (K = 2, 4, 8) at 160 faces.

    Source: the RD of IRIS, ICLR 2026 (arXiv 2603.00590), which divides by K - 1 where Shen et al. (see rd) divide by
    the number of pairs.

    >>> import numpy as np
    >>> normalised_relative_diversity(np.array([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])).round(4)
    array([1.    , 0.6667])
    """
    scaled: FloatArray = relative_diversity(p) * (p.shape[-1] / 2)
    return scaled


rd_normalised = ShareMetric(
    MetricSpec(
        name="rd-normalised",
        version=1,
        direction="lower",
        bounds="[0, 1]",
        limits=lambda _: (0.0, 1.0),
        ideal=0.0,
        summary="relative diversity x K/2: 1 is one class alone, for every K",
    ),
    normalised_relative_diversity,
)
