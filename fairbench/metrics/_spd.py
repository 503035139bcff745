"""Statistical parity difference of the shares: largest minus smallest."""

from __future__ import annotations

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def statistical_parity_difference(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return max_k p_k - min_k p_k of shares p[..., K]; `ref` is not used.

    Range [0, 1]: 0 is balance. Lower is fairer. It sees two classes only, and for K > 2 it is 1 for one class alone
    but also large by chance: with many classes the smallest share is soon 0. For K = 2 it equals rd. The minimum runs
    over the *declared* classes, so an absent class counts as 0.

    Source: the range of the shares; demographic parity difference elsewhere (fairlearn). It is not the SPD of IRIS
    (ICLR 2026, arXiv 2603.00590): their code takes the largest gap of P(occupation | group) between groups.

    >>> import numpy as np
    >>> statistical_parity_difference(np.array([[0.5, 0.25, 0.25, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    array([0.5, 0. ])
    """
    difference: FloatArray = p.max(axis=-1) - p.min(axis=-1)
    return difference


spd = ShareMetric(
    MetricSpec(
        name="spd",
        version=1,
        direction="lower",
        bounds="[0, 1]",
        limits=lambda _: (0.0, 1.0),
        ideal=0.0,
        summary="statistical parity difference: largest share - smallest share",
    ),
    statistical_parity_difference,
)
