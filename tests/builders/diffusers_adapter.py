"""A diffusers adapter on a folder of weights, one image from it, and what lies in such a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.types import BuildContext, ImageRequest


def build(folder: Path, lora: Path | None = None, ctx: BuildContext | None = None, **sampling: Any) -> DiffusersAdapter:
    settings = {"steps": 2, "guidance": 2.0, "width": 32, "height": 32} | sampling
    card = ModelCard(
        name="tiny",
        title="Tiny",
        adapter="diffusers",
        weights=HubModel(path=str(folder)),
        lora=None if lora is None else str(lora),
    )
    return DiffusersAdapter(card, DiffusersAdapter.Params.model_validate(settings), ctx or BuildContext())


def draw(adapter: DiffusersAdapter) -> np.ndarray:
    (result,) = adapter.generate([ImageRequest(b"i", b"p", b"n", "a nurse", 0, 7)])
    assert result.pixels is not None
    return result.pixels.astype(int)


def weights_of(folder: Path, component: str) -> tuple[dict[str, torch.Tensor], Path]:
    (file,) = (folder / component).glob("*.safetensors")
    tensors = load_file(file)
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}, file
