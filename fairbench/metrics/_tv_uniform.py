"""Total variation distance from balance."""

from __future__ import annotations

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def tv_to_uniform(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return 1/2 sum |p_k - 1/K| of shares p[..., K]; `ref` is not used.

    It is the share of faces that would have to change class for balance. Range [0, 1 - 1/K]: 0 is balance, 1 - 1/K
    is one class alone, so values of different K do not compare (see tv-score). Lower is fairer. For K = 2 it is
    HEIM's |female share - 0.5|.

    Source: the standard distance between distributions (Levin and Peres, Markov Chains and Mixing Times, section 4.1);
    HEIM, NeurIPS 2023, for K = 2.

    >>> tv_to_uniform(np.array([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]))
    array([0.25, 0.  , 0.5 ])
    """
    deviation: FloatArray = np.abs(p - 1.0 / p.shape[-1]).sum(axis=-1)
    return deviation / 2


tv_uniform = ShareMetric(
    MetricSpec(
        name="tv-uniform",
        version=1,
        direction="lower",
        bounds="[0, 1 - 1/K]",
        limits=lambda k: (0.0, 1 - 1 / k),
        ideal=0.0,
        summary="total variation distance of the shares from uniform",
    ),
    tv_to_uniform,
)
