"""Normalised Shannon entropy over the declared classes."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import entr

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def normalised_entropy(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return H(p) / log K = -sum p_k log p_k / log K of shares p[..., K], with 0 log 0 = 0; `ref` is not used.

    Range [0, 1]: 1 is balance, 0 is one class alone. Higher is fairer. K is the number of *declared* classes: over
    the observed ones, as FairMOP and FairImagen have it, four races shown as two halves would look perfect.
    Flat near its top: 60 : 40 still scores .97.

    Source: Shannon 1948, normalised as in FairMOP (arXiv 2508.16752).

    >>> normalised_entropy(np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))
    array([1. , 0.5, 0. ])
    """
    share_of_log_k: FloatArray = entr(p).sum(axis=-1) / math.log(p.shape[-1])
    return np.minimum(share_of_log_k, 1.0)  # rounding alone can pass 1


entropy = ShareMetric(
    MetricSpec(
        name="entropy",
        version=1,
        direction="higher",
        bounds="[0, 1]",
        limits=lambda _: (0.0, 1.0),
        ideal=1.0,
        summary="Shannon entropy / log K",
    ),
    normalised_entropy,
)
