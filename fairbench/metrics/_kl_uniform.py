"""Kullback-Leibler divergence from balance."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import xlogy

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def kl_to_uniform(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return KL(p || uniform) = sum p_k log(K p_k) = log K - H(p) of shares p[..., K], in nats; `ref` is not used.

    Range [0, log K] over the *declared* classes: 0 is balance, log K is one class alone. Lower is fairer. With K taken
    from the classes that occurred (FairMOP, FairImagen) one class alone would score 0. FairMOP reports bits: divide
    by log 2.

    Source: Kullback and Leibler 1951; FairMOP (arXiv 2508.16752).

    >>> kl_to_uniform(np.array([[1.0, 0.0], [0.5, 0.5], [0.75, 0.25]])).round(4)
    array([0.6931, 0.    , 0.1308])
    """
    divergence: FloatArray = xlogy(p, p.shape[-1] * p).sum(axis=-1)
    return np.maximum(divergence, 0.0)  # near balance the terms cancel and rounding alone can pass 0


kl_uniform = ShareMetric(
    MetricSpec(
        name="kl-uniform",
        version=1,
        direction="lower",
        bounds="[0, log(K)]",
        limits=lambda k: (0.0, math.log(k)),
        ideal=0.0,
        summary="Kullback-Leibler divergence of the shares from uniform, nats",
    ),
    kl_to_uniform,
)
