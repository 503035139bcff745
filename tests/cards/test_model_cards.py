"""Every shipped model card: it parses, its sampling is what its adapter and its pipeline take, and says whose it is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import diffusers
import pytest
import torch
import yaml

from fairbench import registry
from fairbench.adapters.diffusers import call_arguments
from fairbench.cards.cards import ModelCard

FOLDER = Path(__file__).parents[2] / "models"
CARDS = sorted(FOLDER.glob("*.yaml"))
PIPELINES = {
    "sd-v1-5": (diffusers.StableDiffusionPipeline, diffusers.UNet2DConditionModel),
    "sd-v1-5-shen": (diffusers.StableDiffusionPipeline, diffusers.UNet2DConditionModel),
    "sdxl": (diffusers.StableDiffusionXLPipeline, diffusers.UNet2DConditionModel),
    "sd3.5-medium": (diffusers.StableDiffusion3Pipeline, diffusers.SD3Transformer2DModel),
    "flux-schnell": (diffusers.FluxPipeline, diffusers.FluxTransformer2DModel),
    "flux-dev": (diffusers.FluxPipeline, diffusers.FluxTransformer2DModel),
    "sana": (diffusers.SanaPipeline, diffusers.SanaTransformer2DModel),
    "pixart-sigma": (diffusers.PixArtSigmaPipeline, diffusers.PixArtTransformer2DModel),
    "qwen-image": (diffusers.QwenImagePipeline, diffusers.QwenImageTransformer2DModel),
}
"""What each repository declares in its model_index.json: the pipeline, and its denoiser (the target of LoRA)."""


def read(name: str) -> ModelCard:
    return ModelCard.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_card_parses_and_says_whose_it_is(path: Path) -> None:
    card = read(path.stem)
    registry.parse_params(registry.resolve("adapters", card.adapter), card.sampling)
    assert card.name == path.stem
    assert card.licence != "unknown"
    assert card.source or card.weights is None or card.weights.path, "weights of others name where they come from"


def test_every_required_diffusers_card_is_there() -> None:
    found = {p.stem for p in CARDS if read(p.stem).adapter == "diffusers"}
    assert found >= PIPELINES.keys()


@pytest.mark.parametrize("name", PIPELINES)
def test_sampling_is_what_the_pipeline_takes(name: str) -> None:
    card = read(name)
    pipeline, _ = PIPELINES[name]
    params = registry.parse_params(registry.resolve("adapters", "diffusers"), card.sampling)
    accepted = inspect.signature(pipeline.__call__).parameters
    assert set(call_arguments(params, 2)) <= set(accepted)
    assert {"prompt", "generator"} <= set(accepted)
    assert card.weights is not None and card.weights.revision, "a shipped card is pinned"


@pytest.mark.parametrize("name", PIPELINES)
def test_lora_targets_are_attention_projections_of_the_denoiser(name: str) -> None:
    with torch.device("meta"):  # the real architectures at their default size, without memory
        model = PIPELINES[name][1]()
    pattern = str(read(name).lora_targets)
    hit = {n: m for n, m in model.named_modules() if re.fullmatch(pattern, n)}  # as peft reads it
    assert all(isinstance(m, torch.nn.Linear) for m in hit.values())
    assert {n.rsplit(".to_")[-1] for n in hit} == {"q", "k", "v", "out.0"}


def test_shens_settings() -> None:
    sampling = read("sd-v1-5-shen").sampling
    assert sampling["scheduler"] == "DPMSolverMultistepScheduler"
    assert (sampling["steps"], sampling["guidance"]) == (30, 7.5)
    assert read("sd-v1-5-shen").weights == read("sd-v1-5").weights
