"""Every shipped model card: it parses, its sampling is what its adapter and its pipeline take, and says whose it is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import yaml

from fairbench import registry
from fairbench.adapters.diffusers_params import GUIDER, call_arguments
from fairbench.adapters.diffusers_prompting import system_arguments
from fairbench.cards.cards import ModelCard
from tests.builders.tiny_pipelines import PIPELINES as TINY

FOLDER = Path(__file__).parents[2] / "models"
CARDS = sorted(FOLDER.glob("*.yaml"))
PIPELINES = {
    "sd-v1-5": "StableDiffusionPipeline",
    "sd-v1-5-shen": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3.5-medium": "StableDiffusion3Pipeline",
    "sd3.5-large": "StableDiffusion3Pipeline",
    "flux-schnell": "FluxPipeline",
    "flux-dev": "FluxPipeline",
    "flux2": "Flux2Pipeline",
    "sana": "SanaPipeline",
    "sana-1.5": "SanaPipeline",
    "pixart-sigma": "PixArtSigmaPipeline",
    "qwen-image": "QwenImagePipeline",
    "qwen-image-2512": "QwenImagePipeline",
    "qwen-image-2.1": "QwenImage21Pipeline",
    "glm-image": "GlmImagePipeline",
    "ovis-image": "OvisImagePipeline",
    "z-image": "ZImagePipeline",
    "lumina2": "Lumina2Pipeline",
    "omnigen-v1": "OmniGenPipeline",
    "hunyuan-image-2.1": "HunyuanImagePipeline",
    "longcat-image": "LongCatImagePipeline",
    "ernie-image": "ErnieImagePipeline",
    "cosmos3": "Cosmos3OmniPipeline",
    "hidream-i1": "HiDreamImagePipeline",
}
"""The pipeline that each repository declares in its model_index.json."""
DENOISERS = {
    "sd-v1-5": diffusers.UNet2DConditionModel,
    "sd-v1-5-shen": diffusers.UNet2DConditionModel,
    "sdxl": diffusers.UNet2DConditionModel,
    "sd3.5-medium": diffusers.SD3Transformer2DModel,
    "flux-schnell": diffusers.FluxTransformer2DModel,
    "flux-dev": diffusers.FluxTransformer2DModel,
    "sana": diffusers.SanaTransformer2DModel,
    "pixart-sigma": diffusers.PixArtTransformer2DModel,
    "qwen-image": diffusers.QwenImageTransformer2DModel,
}
"""The denoisers of cards that name targets of LoRA."""


def read(name: str) -> ModelCard:
    return ModelCard.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def params_of(name: str) -> Any:
    return registry.parse_params(registry.resolve("adapters", "diffusers"), read(name).sampling)


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_card_parses_and_says_whose_it_is(path: Path) -> None:
    card = read(path.stem)
    registry.parse_params(registry.resolve("adapters", card.adapter), card.sampling)
    assert card.name == path.stem
    assert card.licence != "unknown"
    assert card.source or card.weights is None or card.weights.path, "weights of others name where they come from"


def test_every_diffusers_card_is_in_this_table() -> None:
    assert {p.stem for p in CARDS if read(p.stem).adapter == "diffusers"} == PIPELINES.keys()


@pytest.mark.parametrize("name", PIPELINES)
def test_sampling_is_what_the_pipeline_takes(name: str) -> None:
    """Held against the real signature; the types of plain settings, too, where it names them."""
    params, pipeline = params_of(name), getattr(diffusers, PIPELINES[name])
    accepted = inspect.signature(pipeline.__call__).parameters
    arguments = call_arguments(params, 2)
    assert set(arguments) <= set(accepted)
    assert {"prompt", "generator"} <= set(accepted)
    for argument, value in arguments.items():
        default = accepted[argument].default
        if isinstance(default, bool | float) and default is not inspect.Parameter.empty:
            assert isinstance(value, bool) == isinstance(default, bool), argument
    if params.guidance_argument == GUIDER:
        assert "guider" in inspect.signature(pipeline.__init__).parameters
    assert not params.rewrite_prompts
    parts = inspect.signature(pipeline.__init__).parameters
    assert set(params.components) <= set(parts)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_card_is_pinned_or_says_that_nobody_looked_its_commit_up(name: str) -> None:
    card = read(name)
    assert card.weights is not None
    assert card.weights.revision or re.search(r"\bcommits?\b", str(card.unverified))


@pytest.mark.parametrize("name", [n for n in PIPELINES if params_of(n).system_prompt is not None])
def test_a_declared_system_prompt_is_the_pipelines_own(name: str) -> None:
    """A release of diffusers with another text must not go unseen; the card's text would then be put in its place."""
    text, pipeline = params_of(name).system_prompt, getattr(diffusers, PIPELINES[name])
    accepted = inspect.signature(pipeline.__call__).parameters
    given = system_arguments(accepted, text)
    if "complex_human_instruction" in given:
        assert "\n".join(accepted["complex_human_instruction"].default) == text
        return
    source = inspect.getsource(inspect.getmodule(pipeline))  # type: ignore[arg-type]
    messages = inspect.getmodule(diffusers.Flux2Pipeline).SYSTEM_MESSAGE  # type: ignore[union-attr]
    assert text in source.replace("\\n", "\n") or text == messages


def test_tiny_checkpoints_are_claimed_where_they_are_tested() -> None:
    claimed = {n for n in PIPELINES if read(n).verified == "tiny checkpoint"}
    assert claimed == TINY.keys() | {"sd-v1-5", "sd-v1-5-shen", "flux-dev", "flux-schnell"}
    assert {read(n).verified for n in PIPELINES.keys() - claimed} == {"signatures"}


@pytest.mark.parametrize("name", DENOISERS)
def test_lora_targets_are_attention_projections_of_the_denoiser(name: str) -> None:
    with torch.device("meta"):  # the real architectures at their default size, without memory
        model = DENOISERS[name]()
    pattern = str(read(name).lora_targets)
    hit = {n: m for n, m in model.named_modules() if re.fullmatch(pattern, n)}  # as peft reads it
    assert all(isinstance(m, torch.nn.Linear) for m in hit.values())
    assert {n.rsplit(".to_")[-1] for n in hit} == {"q", "k", "v", "out.0"}


def test_shens_settings() -> None:
    sampling = read("sd-v1-5-shen").sampling
    assert sampling["scheduler"] == "DPMSolverMultistepScheduler"
    assert (sampling["steps"], sampling["guidance"]) == (30, 7.5)
    assert read("sd-v1-5-shen").weights == read("sd-v1-5").weights
