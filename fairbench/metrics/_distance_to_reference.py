"""Total variation distance from a reference that the task gives, such as labour statistics."""

from __future__ import annotations

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def tv_to_reference(p: FloatArray, ref: FloatArray | None) -> FloatArray:
    """Return 1/2 sum |p_k - ref_k| of shares p[..., K] and a reference ref[..., K] that broadcasts against them.

    Range [0, 1] over all references; for one reference the most is 1 - min_k ref_k. 0 mirrors the reference. Whether
    that is fair is not for a formula to say: a model that mirrors a workforce of 90 % women is not balanced, and a
    balanced model does not mirror it. So the spec has direction "none" and no ideal; show it beside rd.
    A missing reference is NaN in `ref` and gives NaN. Raises ValueError where the two do not have the same classes.

    Source: the standard distance between distributions (Levin and Peres, Markov Chains and Mixing Times, section 4.1);
    the comparison with a workforce as in IRIS, ICLR 2026 (arXiv 2603.00590), real-world fidelity.

    >>> tv_to_reference(np.array([[0.5, 0.5], [0.1, 0.9]]), np.array([0.12, 0.88])).round(2)
    array([0.38, 0.02])
    """
    if ref is None or ref.shape[-1:] != p.shape[-1:]:
        got = "none" if ref is None else f"shape {ref.shape}"
        raise ValueError(f"distance-to-reference: needs a reference over the same {p.shape[-1]} classes, got {got}")
    deviation: FloatArray = np.abs(p - ref).sum(axis=-1)
    return deviation / 2


distance_to_reference = ShareMetric(
    MetricSpec(
        name="distance-to-reference",
        version=1,
        direction="none",
        bounds="[0, 1]",
        limits=lambda _: (0.0, 1.0),
        ideal=None,
        summary="total variation distance of the shares from the task's reference",
        needs_reference=True,
    ),
    tv_to_reference,
)
