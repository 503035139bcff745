"""The token interface of a Janus checkpoint: pixels to image tokens and to what its vision encoder says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench.networks.janus import JanusModel
from fairbench.types import FloatArray, RgbImage

BATCH = 32
READING_VERSION = 2
"""Raised whenever the same image gives other tokens (`encode`) or is seen otherwise (`vision_input`). 2: codes are
compared by angle, and images are shown to the vision encoder as the models' authors do."""


def as_input(model: JanusModel, images: Sequence[RgbImage]) -> NDArray[np.float32]:
    """Return images as the image tokenizer reads them: (n, 3, side, side), values in [-1, 1].

    Images of another size are resized (Lanczos), those that are not square around their centre first.
    """
    side = model.net.config.vision_config.image_size
    squares = np.stack([_square(image, side) for image in images])
    return np.ascontiguousarray(squares.transpose(0, 3, 1, 2), dtype=np.float32) / 127.5 - 1


def _square(image: RgbImage, side: int) -> RgbImage:
    if image.shape[:2] == (side, side):
        return image
    from PIL import Image

    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    cut = Image.fromarray(image[top : top + short, left : left + short])
    return np.asarray(cut.resize((side, side), Image.Resampling.LANCZOS))


def vision_input(model: JanusModel, images: Sequence[RgbImage]) -> NDArray[np.float32]:
    """Return images as the vision encoder sees them, (n, 3, side, side): the formula of the models' authors.

    The longer side becomes `side` (bicubic), the shorter one follows, rounded down; the square around the middle is
    filled with the grey that becomes about 0. Not through transformers' processor: it rounds the shorter side, which
    moves an edge by a pixel, and resizes with torchvision or Pillow, whichever is installed.
    """
    settings = model.processor.image_processor
    side = model.net.config.vision_config.image_size
    squares = np.stack([_padded(image, side, settings.min_size, settings.image_mean) for image in images])
    values = (squares * settings.rescale_factor - np.array(settings.image_mean)) / np.array(settings.image_std)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)


def _padded(image: RgbImage, side: int, min_side: int, mean: Sequence[float]) -> RgbImage:
    from PIL import Image

    longest = max(image.shape[:2])
    # In the authors' order of operations: a quotient that is not exact may fall below the whole number.
    height, width = (max(int(length / longest * side), min_side) for length in image.shape[:2])
    square = Image.new("RGB", (max(height, width),) * 2, tuple(int(m * 255) for m in mean))
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    square.paste(small, ((square.width - width) // 2, (square.height - height) // 2))
    return np.asarray(square)


def encode(model: JanusModel, images: Sequence[RgbImage], batch: int = BATCH) -> NDArray[np.int64]:
    """Return the image tokens (images, tokens_per_image) that the model's own tokenizer gives."""
    import torch

    parts = [np.zeros((0, model.tokens_per_image), dtype=np.int64)]
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            values = torch.from_numpy(as_input(model, images[start : start + batch]))
            codes = codes_of(model.net.model.vqmodel, values.to(model.net.device, model.net.dtype))
            parts.append(codes.cpu().numpy().astype(np.int64))
    return np.concatenate(parts)


def codes_of(vq: Any, pixels: Any) -> Any:
    """Return the code of each latent, row by row of the grid: (n, N) of pixels (n, 3, side, side) in [-1, 1].

    It is the code at the smallest angle: these tokenizers were trained with L2-normalised latents and codes, as their
    decoder still normalises codes. transformers' `encode` compares without normalising, which gives other tokens
    wherever codes differ in length (1-13 % of them where lengths spread by 2-10 %).
    """
    import torch
    from torch.nn.functional import normalize

    latents = vq.quant_conv(vq.encoder(pixels)).flatten(2).transpose(1, 2).float()
    book = normalize(vq.quantize.embedding.weight.float(), dim=1)
    # The length of a latent changes no order. One image at a time: all angles of 32 images would take gigabytes.
    return torch.stack([(image @ book.T).argmax(dim=-1) for image in latents])


def embed(model: JanusModel, images: Sequence[RgbImage], batch: int = BATCH) -> FloatArray:
    """Return what the vision encoder says of each image, the mean over its patches, (images, hidden), float32."""
    import torch

    parts = [np.zeros((0, model.net.config.vision_config.hidden_size), dtype=np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(vision_input(model, images[start : start + batch]))
            states = model.net.model.vision_model(pixels.to(model.net.device, model.net.dtype)).last_hidden_state
            parts.append(states.float().mean(dim=1).cpu().numpy())
    return np.concatenate(parts)
