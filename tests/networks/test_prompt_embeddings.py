"""What of the embeddings of prompts moves, in each of the pipelines, and what their encoders pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from fairbench.networks import prompt_embeddings
from tests.builders.clip_pipelines import WIDTH, save_tiny_sd3, save_tiny_sdxl
from tests.builders.diffusion import save_tiny_sd
from tests.builders.folders import written_once

SAVE = {"sd": save_tiny_sd, "sdxl": save_tiny_sdxl, "sd3": save_tiny_sd3}
TEXTS = ["a nurse", "A photo of the face of a chef, a person"]


@pytest.fixture(params=SAVE)
def pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = written_once(tmp_path_factory, f"tiny-{request.param}", SAVE[request.param])
    return diffusers.DiffusionPipeline.from_pretrained(folder)


def encoded(pipe: Any, texts: list[str]) -> list[torch.Tensor]:
    sd3 = type(pipe).__name__ == "StableDiffusion3Pipeline"
    more = {"prompt_2": None, "prompt_3": None} if sd3 else {}
    parts = pipe.encode_prompt(
        prompt=texts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, **more
    )
    return [part.detach() for part in parts]


def test_only_states_of_the_pooled_width_move(pipe: Any) -> None:
    width, part = {
        "StableDiffusionPipeline": (WIDTH, np.s_[:, :, :]),
        "StableDiffusionXLPipeline": (WIDTH // 2, np.s_[:, :, WIDTH:]),
        "StableDiffusion3Pipeline": (WIDTH + WIDTH // 2, np.s_[:, :77, : WIDTH + WIDTH // 2]),
    }[type(pipe).__name__]
    rng = np.random.default_rng(0)
    half, noise = rng.normal(size=(width, 3)), rng.normal(size=(2, width))
    projection = half @ np.linalg.pinv(half)
    before = encoded(pipe, TEXTS)
    with prompt_embeddings.moved(pipe, projection, noise, 0.75):
        after = encoded(pipe, TEXTS)
    again = encoded(pipe, TEXTS)
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(again[i], old)
        expected = old.double().numpy().copy()
        if i == 0:
            expected[part] = 0.25 * expected[part] + 0.75 * (expected[part] @ projection + noise[:, None])
        elif i == 2:
            expected = 0.25 * expected + 0.75 * (expected @ projection + noise)
        else:
            assert torch.equal(old, new), "negative embeddings stay"
        np.testing.assert_allclose(new.numpy(), expected, atol=2e-5)
    assert not torch.equal(before[0], after[0])


def text_features(pipe: Any, text: str) -> np.ndarray:
    """What the encoders themselves return as pooled, without the pipeline."""
    name = type(pipe).__name__
    numbers = {"StableDiffusionPipeline": [""], "StableDiffusionXLPipeline": ["_2"]}.get(name, ["", "_2"])
    features = []
    for number in numbers:
        ids = getattr(pipe, f"tokenizer{number}")(
            text, padding="max_length", max_length=77, return_tensors="pt"
        ).input_ids
        output = getattr(pipe, f"text_encoder{number}")(ids)
        features.append(output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output)
    return torch.cat(features, dim=1)[0].detach().double().numpy()


def test_pooled_is_what_the_encoders_pool(pipe: Any) -> None:
    texts = [*TEXTS, *(f"a portrait of {'very ' * count}old people" for count in range(8)), *"abcdefgh"]
    pooled = prompt_embeddings.pooled(pipe, texts)
    for text, row in zip(texts, pooled, strict=True):
        np.testing.assert_allclose(row, text_features(pipe, text), atol=1e-5)
