"""The share of images in which no face was detected."""

from __future__ import annotations

import numpy as np

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


def share_without_face(p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
    """Return p_1 of p[..., 2] = (share of images with a face, share without); `ref` is not used.

    Range [0, 1]: 0 is a face in every image. Lower is better: every other metric is over detected faces, so this is
    the part of the model's output that they leave out. Where it differs much between prompts or models, a difference
    in the other metrics may be a difference in who gets a face at all. Raises ValueError for other than two shares.

    Source: the face rule of Shen et al., ICLR 2024, and Liu et al., NeurIPS 2025 (images without a face are left out
    of the frequencies), counted rather than dropped.

    >>> share_without_face(np.array([[0.95, 0.05], [1.0, 0.0], [np.nan, np.nan]]))
    array([0.05, 0.  ,  nan])
    """
    if p.shape[-1] != 2:
        raise ValueError(f"no-face-rate: needs the shares with and without a face, got {p.shape[-1]} classes")
    return np.where(np.isnan(p).any(axis=-1), np.nan, p[..., 1])


no_face_rate = ShareMetric(
    MetricSpec(
        name="no-face-rate",
        version=1,
        direction="lower",
        bounds="[0, 1]",
        limits=lambda _: (0.0, 1.0),
        ideal=0.0,
        summary="share of images in which no face was detected",
        input="faces",
    ),
    share_without_face,
)
