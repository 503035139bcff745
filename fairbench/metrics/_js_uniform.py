"""Jensen-Shannon divergence from balance."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import rel_entr

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def js_to_uniform(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return (KL(p || m) + KL(u || m)) / 2, m = (p + u) / 2, u uniform, of shares p[..., K], in nats; `ref` unused.

    It is the divergence, not its square root (the Jensen-Shannon distance). Range from 0, balance, to
    log 2 - ((K + 1) log(K + 1) - K log K) / 2K, one class alone: .2158, .3804, .4778, .4969 nats for K = 2, 4, 7, 8.
    That is neither 1 nor log 2 (K = 2 in bits: .311), so values of different K do not compare. Lower is fairer.

    Source: Lin 1991; IRIS, ICLR 2026 (arXiv 2603.00590), natural logarithm, squared distance.

    >>> [round(float(js_to_uniform(np.eye(k)[0])), 4) for k in (2, 4, 7, 8)]
    [0.2158, 0.3804, 0.4778, 0.4969]
    >>> js_to_uniform(np.array([[0.5, 0.5], [0.75, 0.25]])).round(4)
    array([0.    , 0.0338])
    """
    uniform = 1.0 / p.shape[-1]
    middle = (p + uniform) / 2
    divergence: FloatArray = (rel_entr(p, middle) + rel_entr(uniform, middle)).sum(axis=-1) / 2
    return np.maximum(divergence, 0.0)  # near balance the terms cancel and rounding alone can pass 0


js_uniform = ShareMetric(
    MetricSpec(
        name="js-uniform",
        version=1,
        direction="lower",
        bounds="[0, log(2) - ((K + 1)*log(K + 1) - K*log(K)) / (2*K)]",
        limits=lambda k: (0.0, math.log(2) - ((k + 1) * math.log(k + 1) - k * math.log(k)) / (2 * k)),
        ideal=0.0,
        summary="Jensen-Shannon divergence between the shares and uniform, nats",
    ),
    js_to_uniform,
)
