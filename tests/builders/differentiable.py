"""A labeller of torch modules, as the one of Shen et al. is, with random weights, and a tiny DINOv2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

from tests.builders.balanced import ATTRIBUTES
from tests.builders.classifiers import random_model


def save_labeller(folder: Path, *, crop: dict[str, Any] | None = None, resize: str = "torch-bilinear") -> Path:
    """Write a card whose two classifiers read the whole image; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    classifiers = []
    for seed, (name, labels) in enumerate(ATTRIBUTES.items()):
        model = random_model("mobilenet_v3_small", len(labels), seed)
        save_file(
            {key: value.contiguous() for key, value in model.state_dict().items()}, folder / f"{name}.safetensors"
        )
        classifiers.append(
            {
                "type": "torchvision",
                "architecture": "mobilenet_v3_small",
                "weights": {"path": f"{name}.safetensors"},
                "input": {"size": [40, 48], "range": [-1, 1], "resize": resize},
                "heads": {name: {"activation": "softmax"}},
            }
        )
    card = {
        "name": "random",
        "title": "Random weights",
        "routes": [{"detector": {"type": "whole-image"}, "crop": crop or {"type": "square", "expand": 0.25}}],
        "classifiers": classifiers,
        "attributes": {name: {"labels": list(labels)} for name, labels in ATTRIBUTES.items()},
        "face_policy": {"select": "largest"},
    }
    path = folder / "random.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


def save_tiny_dino(folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Dinov2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=56
        )
        Dinov2Model(config).save_pretrained(folder)
    return folder
