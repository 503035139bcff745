"""The losses of distributional alignment (Shen et al., ICLR 2024): show the assigned class, and stay the same image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench.training.assignment import UNCERTAIN

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; the last two excluded."""


def fair(log_probs: Sequence[torch.Tensor], targets: NDArray[np.int64]) -> torch.Tensor:
    """Return the cross-entropy of each face's assigned labels, summed over attributes, (faces,); 0 where UNCERTAIN.

    log_probs: of every attribute, (faces, its labels). targets: (faces, attributes).
    """
    total = log_probs[0].new_zeros(len(targets))
    for of_attribute, column in zip(log_probs, targets.T, strict=True):
        wanted = torch.from_numpy(column).to(of_attribute.device)
        picked = of_attribute.gather(1, wanted.clamp(min=0)[:, None])[:, 0]
        total = total - torch.where(wanted == UNCERTAIN, torch.zeros_like(picked), picked)
    return total


def keeps_class(targets: NDArray[np.int64], original: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether an image is to show what the original model drew of every attribute, (images,).

    targets, original: (images, attributes). An UNCERTAIN target does not count as kept.
    """
    return np.asarray(((targets == original) & (targets != UNCERTAIN)).all(axis=1))


def preserving(
    embeddings: Sequence[torch.Tensor], original: Sequence[torch.Tensor], weights: torch.Tensor
) -> torch.Tensor:
    """Return each image's weight times the sum over networks of 1 - cosine to the original model's image, (images,).

    embeddings, original: of every network, (images, D), of any norm.
    """
    cosines = [torch.cosine_similarity(a, b, dim=-1) for a, b in zip(embeddings, original, strict=True)]
    return weights * torch.stack([1 - cosine for cosine in cosines]).sum(dim=0)


def damped(images: torch.Tensor, boxes: Sequence[Box | None], factors: Sequence[float]) -> torch.Tensor:
    """Return the same images (rows, 3, height, width), whose gradients are scaled by a factor inside a box."""
    scale = torch.ones_like(images[:, :1])
    for row, (box, factor) in enumerate(zip(boxes, factors, strict=True)):
        if box is not None:
            left, top, right, bottom = box
            scale[row, :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = factor
    return images.detach() + scale * (images - images.detach())
