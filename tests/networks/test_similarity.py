"""Embeddings with gradients are those of the networks' own preprocessing, on pictures of their size and of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from transformers import Dinov2Model

from fairbench.cards.cards import HubModel
from fairbench.errors import WeightsError
from fairbench.networks import openclip, similarity
from fairbench.networks.openclip import OpenClipParams
from fairbench.types import BuildContext
from tests.builders.differentiable import save_tiny_dino


def smooth(height: int, width: int) -> np.ndarray:
    """Return a picture without sharp edges, on which 8-bit rounding is all that differs."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(6 * x + channel) * np.cos(5 * y) for channel in range(3)]
    return (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def pixels(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("size", [(32, 32), (48, 80)])
def test_clip_embeds_as_its_scorer_does(tiny_openclip: Path, size: tuple[int, int]) -> None:
    params, image = OpenClipParams.model_validate({"path": str(tiny_openclip)}), smooth(*size)
    expected = openclip.load(params, BuildContext()).image_features([image], 1)
    given = pixels(image).requires_grad_()
    found = similarity.clip(params, BuildContext())(given)
    unit = torch.nn.functional.normalize(found, dim=-1).detach().numpy()
    np.testing.assert_allclose(unit, expected, atol=0.02 if size != (32, 32) else 1e-5)
    found.sum().backward()
    assert given.grad.abs().max() > 0


def test_dino_embeds_the_whole_image(tmp_path: Path) -> None:
    folder, image = save_tiny_dino(tmp_path / "dino"), smooth(300, 260)
    own = v2.Compose(
        [v2.Resize(224, antialias=True), v2.CenterCrop(224), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    with torch.no_grad():
        states = Dinov2Model.from_pretrained(folder).eval()(own(pixels(image))).last_hidden_state
    given = pixels(image).requires_grad_()
    found = similarity.dino(HubModel(path=str(folder)), BuildContext())(given)
    torch.testing.assert_close(found.detach(), states[:, 0])
    found[0, :3].sum().backward()  # of all, which the last norm makes 0, there is no gradient
    assert given.grad.abs().max() > 0


def test_folders_of_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="cannot be loaded as a DINOv2"):
        similarity.dino(HubModel(path=str(tmp_path / "empty")), BuildContext())
    folder = save_tiny_dino(tmp_path / "dino")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "vit", "architectures": ["ViTModel"], "intermediate_size": 32, "image_size": 56}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="is a vit, not a DINOv2"):
        similarity.dino(HubModel(path=str(folder)), BuildContext())
