"""`clip-variety` and `inception-variety`: their embeddings are the networks' own, their value a mean over pairs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.models import inception_v3

from fairbench.scorers.inception_score import InceptionScore
from fairbench.scorers.variety import ClipVariety, InceptionVariety
from fairbench.types import BuildContext


def pictures(count: int) -> list[np.ndarray]:
    y, x = np.mgrid[0:48, 0:56]
    waves = (np.stack([np.sin(x / (2 + i)), np.cos(y / (3 + i)), np.sin((x + y) / 5)], axis=-1) for i in range(count))
    return [np.round(127.5 + 127.5 * wave).astype(np.uint8) for wave in waves]


def mean_of_pairs(rows: np.ndarray) -> float:
    pairs = itertools.combinations(rows.astype(np.float64), 2)
    return float(np.mean([1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]))


def test_clip_embeddings(tiny_openclip: Path) -> None:
    images = pictures(4)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_openclip}")
    with torch.no_grad():
        raw = [model.eval().encode_image(preprocess(Image.fromarray(image))[None])[0].numpy() for image in images]
    scorer = ClipVariety(ClipVariety.Params(path=str(tiny_openclip)), BuildContext())
    found = scorer.features(images, [""] * 4)
    np.testing.assert_allclose(found, [row / np.linalg.norm(row) for row in raw], atol=1e-5)
    np.testing.assert_array_equal(scorer.features(images[2:3], [""])[0], found[2])
    assert scorer.summarise(found)["clip_variety"] == pytest.approx(mean_of_pairs(np.array(raw)), abs=1e-6)
    assert scorer.summarise(found[:1]) == {"clip_variety": None} and scorer.spec.embeds


@pytest.mark.long  # a whole Inception network
def test_inception_embeddings(tiny_inception: Path) -> None:
    images = pictures(2)
    net = inception_v3(weights=None, init_weights=False)
    net.load_state_dict(torch.load(tiny_inception, weights_only=True))
    pooled: list[torch.Tensor] = []
    net.eval().avgpool.register_forward_hook(lambda module, inputs, output: pooled.append(output.flatten(1)))
    for image in images:
        squashed = np.asarray(Image.fromarray(image).resize((299, 299), Image.Resampling.BILINEAR))
        with torch.no_grad():
            net(torch.from_numpy(squashed.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)
    params = InceptionScore.Params.model_validate({"weights": {"path": str(tiny_inception)}})
    scorer = InceptionVariety(params, BuildContext())
    found = scorer.features(images, ["", ""])
    assert found.shape == (2, 2048) and scorer.features([], []).shape == (0, 2048)
    np.testing.assert_allclose(found, torch.cat(pooled).numpy(), rtol=1e-3, atol=1e-4)
    value = scorer.summarise(found)["inception_variety"]
    assert value == pytest.approx(mean_of_pairs(found)) and value is not None and 0 < value < 1
