"""Chips to a model's input batch: resize, channel order, value range, normalisation, layout. All of it declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fairbench.protocols import Params
from fairbench.types import RgbImage

Triple = tuple[float, float, float]


class InputSpec(Params):
    """What a classifier wants to see.

    size: height, width in pixels; the chip is stretched to it. range: what the pixel values 0 and 255 become. mean,
    std: subtracted and divided by after that, in the model's own channel order. resize, bilinear throughout:
    `pil-bilinear` filters when it shrinks and rounds to 8 bits (torchvision on PIL images), `cv2-linear` does not
    filter and rounds to 8 bits (OpenCV), the other two are torch's on floats, without and with the filter. They
    differ enough to move probabilities: take what the model was evaluated with.
    """

    size: tuple[int, int]
    layout: Literal["nchw", "nhwc"] = "nchw"
    colour: Literal["rgb", "bgr"] = "rgb"
    range: tuple[float, float] = (0.0, 1.0)
    mean: Triple | None = None
    std: Triple | None = None
    resize: Literal["pil-bilinear", "torch-bilinear", "torch-bilinear-antialias", "cv2-linear"] = Field(
        description="required: there is no harmless default"
    )

    @model_validator(mode="after")
    def _sensible(self) -> InputSpec:
        if min(self.size) < 1:
            raise ValueError("size: height and width are at least 1")
        if not self.range[0] < self.range[1]:
            raise ValueError("range: the value of pixel 0 lies below that of pixel 255")
        if self.std and min(self.std) <= 0:
            raise ValueError("std: every channel's is above 0")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image in the batch."""
        height, width = self.size
        return (3, height, width) if self.layout == "nchw" else (height, width, 3)


def batch(chips: Sequence[RgbImage], spec: InputSpec, rows: int | None = None) -> NDArray[np.float32]:
    """Return a contiguous float32 batch (rows, *spec.shape); rows beyond the chips (for a fixed batch size) are zero.

    Range and normalisation are folded into one multiplication and one addition per channel, written in place.
    """
    count = max(rows or 0, len(chips))
    # zeros only where no chip will be written: a full batch is not touched twice
    out: NDArray[np.float32] = np.empty((count, *spec.shape), dtype=np.float32)
    out[len(chips) :] = 0.0
    scale, offset = _affine(spec)
    for chip, target in zip(chips, out, strict=False):
        view = target.transpose(1, 2, 0) if spec.layout == "nchw" else target
        pixels = _resized(chip, spec)
        np.multiply(pixels if spec.colour == "rgb" else pixels[..., ::-1], scale, out=view)
        view += offset
    return out


def differentiable(chips: Sequence[Any], spec: InputSpec) -> Any:
    """Return the batch of chips that are tensors (3, height, width) from 0 to 1, through which gradients flow.

    The values are those of `batch` up to the rounding of pixels to 8 bits, where the resizing is one that rounds.
    """
    import torch

    smooth = spec.resize in {"pil-bilinear", "torch-bilinear-antialias"}
    resized = [
        torch.nn.functional.interpolate(chip[None], spec.size, mode="bilinear", align_corners=False, antialias=smooth)
        for chip in chips
    ]
    pixels = torch.cat(resized) * 255
    scale, offset = (torch.from_numpy(np.broadcast_to(v, 3).copy()).to(pixels)[:, None, None] for v in _affine(spec))
    out = (pixels if spec.colour == "rgb" else pixels.flip(1)) * scale + offset
    return out if spec.layout == "nchw" else out.permute(0, 2, 3, 1)


def _affine(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low, high = spec.range
    mean = np.array(spec.mean or (0.0, 0.0, 0.0))
    std = np.array(spec.std or (1.0, 1.0, 1.0))
    return ((high - low) / 255 / std).astype(np.float32), ((low - mean) / std).astype(np.float32)


def _resized(chip: RgbImage, spec: InputSpec) -> NDArray[Any]:
    """Return height x width x 3, 0..255: uint8 or float32. A chip of the right size is returned as it is."""
    height, width = spec.size
    if chip.shape[:2] == spec.size:
        return chip
    if spec.resize == "pil-bilinear":
        from PIL import Image

        return np.asarray(Image.fromarray(chip).resize((width, height), Image.Resampling.BILINEAR))
    if spec.resize == "cv2-linear":
        import cv2

        small: NDArray[Any] = cv2.resize(chip, (width, height), interpolation=cv2.INTER_LINEAR)
        return small
    import torch

    floats = torch.from_numpy(np.ascontiguousarray(chip)).permute(2, 0, 1)[None].float()
    smooth = spec.resize == "torch-bilinear-antialias"
    resized = torch.nn.functional.interpolate(floats, spec.size, mode="bilinear", align_corners=False, antialias=smooth)
    return resized[0].permute(1, 2, 0).numpy()
