"""An Inception v3 checkpoint of full shape in a small file: every weight is a window on a short random vector."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.models import inception_v3

STRIDES = (7, 5, 3, 1)


def save_tiny_inception(path: Path, seed: int = 0) -> Path:
    """Write a state dict for `torchvision.models.inception_v3` (under 2 MB, the real one has 104) and return `path`.

    The widths of the network are fixed, but a saved tensor is a view of its storage: overlapping strides fill any
    shape from a few thousand numbers. Logits differ from image to image by about one. The same seed gives the same
    numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = inception_v3(weights=None, init_weights=False).state_dict()
    torch.save({name: _entry(name, value, generator) for name, value in shapes.items()}, path)
    return path


def _entry(name: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if like.ndim < 2:
        value = torch.ones if name.endswith(("bn.weight", "running_var")) else torch.zeros
        return value(like.shape, dtype=like.dtype)
    strides = STRIDES[-like.ndim :]
    size = 1 + sum((n - 1) * stride for n, stride in zip(like.shape, strides, strict=True))
    gain = 4.0 if name.startswith("fc") else 2.0  # 2 keeps the spread of the activations through the ReLUs
    base = torch.randn(size, generator=generator) * (gain / like[0].numel()) ** 0.5
    return base.as_strided(like.shape, strides)
