"""Embeddings of images through which gradients flow: how alike two images are to CLIP and to DINOv2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fairbench.cards.cards import HubModel
from fairbench.errors import WeightsError
from fairbench.networks import openclip, weights
from fairbench.networks.hub import first_line
from fairbench.types import BuildContext

Embed = Callable[[Any], Any]
"""Images (n, 3, height, width), from 0 to 1 -> embeddings (n, D)."""
_DINO_SIZE: Final = 224
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def clip(params: openclip.OpenClipParams, ctx: BuildContext) -> Embed:
    """Return the image side of an open_clip model. Raises WeightsError."""
    from torchvision.transforms import v2

    model = openclip.load(params, ctx).model
    config = model.visual.preprocess_cfg
    size = config["size"] if isinstance(config["size"], int) else config["size"][-1]
    preprocess = _preprocess(size, v2.InterpolationMode(config["interpolation"]), (config["mean"], config["std"]))

    def embed(images: Any) -> Any:
        return model.encode_image(preprocess(images))

    return embed


def dino(folder: HubModel, ctx: BuildContext) -> Embed:
    """Return a DINOv2 in the layout of transformers: its embedding of the whole image. Raises WeightsError."""
    from torchvision.transforms import v2
    from transformers import AutoModel

    path: Path = weights.model_folder(folder, ctx.base_dir)
    try:
        model = AutoModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
    except Exception as err:  # the library raises many kinds of error on files that are absent or damaged
        raise WeightsError(f"{path} cannot be loaded as a DINOv2 ({first_line(err)}).") from err
    if not str(model.config.model_type).startswith("dinov2"):
        raise WeightsError(f"{path} is a {model.config.model_type}, not a DINOv2: name another folder.")
    model = model.to(ctx.device).eval().requires_grad_(False)
    preprocess = _preprocess(_DINO_SIZE, v2.InterpolationMode.BILINEAR, _IMAGENET)

    def embed(images: Any) -> Any:
        return model(preprocess(images)).pooler_output

    return embed


def _preprocess(size: int, interpolation: Any, normal: tuple[Any, Any]) -> Embed:
    """Scale the shorter side to `size`, crop the middle and normalise, as these models' own preprocessing does."""
    from torchvision.transforms.v2 import functional

    def prepared(images: Any) -> Any:
        scaled = functional.resize(images, [size], interpolation=interpolation, antialias=True)
        return functional.normalize(functional.center_crop(scaled, [size, size]), list(normal[0]), list(normal[1]))

    return prepared
