"""The share of faces that show what their prompt states, for prompts that name attributes."""

from __future__ import annotations

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def share_that_follows(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return p_0 of p[..., 2] = (share of faces that show all that the prompt states, the rest); `ref` is not used.

    Range [0, 1]: 1 is a model that draws whom it is told to. Higher is better: a mitigation that draws everybody,
    whatever the prompt says, is balanced and useless. The labeller's own mistakes count as not followed: in `following`
    they are undone. Raises ValueError for other than two shares.

    Source: ours; the prompts are those that name a group in Liu et al., NeurIPS 2025 ("a photo of a female nurse").

    >>> share_that_follows(np.array([[0.95, 0.05], [1.0, 0.0], [np.nan, np.nan]]))
    array([0.95, 1.  ,  nan])
    """
    if p.shape[-1] != 2:
        raise ValueError(f"attribute-following: needs the shares that follow and not, got {p.shape[-1]} classes")
    return np.where(np.isnan(p).any(axis=-1), np.nan, p[..., 0])


attribute_following = ShareMetric(
    MetricSpec(
        name="attribute-following",
        version=1,
        direction="higher",
        bounds="[0, 1]",
        limits=lambda _: (0.0, 1.0),
        ideal=1.0,
        summary="share of faces that show what their prompt states",
        input="stated",
    ),
    share_that_follows,
)
