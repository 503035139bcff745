"""Semantic guidance: against the pipeline of diffusers in double precision, by hand, and in other pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from fairbench.errors import FairbenchError
from fairbench.networks.semantic_guidance import Guidance, Settings, encode, guided
from tests.builders.clip_pipelines import save_tiny_sdxl
from tests.builders.diffusion import save_tiny_sd
from tests.builders.folders import written_once

TEXTS = ("female person", "male person", "old person")
CALL: dict[str, Any] = {"num_inference_steps": 5, "output_type": "latent"}


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _load(written_once(tmp_path_factory, "tiny-sd", save_tiny_sd))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _load(written_once(tmp_path_factory, "tiny-sdxl", save_tiny_sdxl))


def _load(folder: Path) -> Any:
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float64)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def set_to(strength: float, threshold: float, warmup: int, momentum: float, decay: float) -> Settings:
    return Settings(strength=strength, threshold=threshold, warmup=warmup, momentum=momentum, decay=decay)


def latents(pipe: Any, seeds: tuple[int, ...] = (1,), **call: Any) -> torch.Tensor:
    prompts = ["a nurse", "the judge at work"][: len(seeds)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn: torch.Tensor = pipe(prompts, generator=generators, **(CALL | call)).images
    return drawn


@pytest.mark.parametrize(("scheduler", "warmup"), [("PNDMScheduler", 0), ("DDIMScheduler", 3)])
def test_it_is_the_guidance_of_diffusers(sd: Any, scheduler: str, warmup: int) -> None:
    """SemanticStableDiffusionPipeline is the library's own implementation, with other code around it."""
    settings = Settings(strength=4.0, threshold=0.9, warmup=warmup, momentum=0.5, decay=0.6)
    names = ("vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor")
    parts = {name: sd.components[name] for name in names} | {"requires_safety_checker": False}
    parts["scheduler"] = getattr(diffusers, scheduler).from_config(sd.scheduler.config)
    call = {"guidance_scale": 5.0}
    theirs, ours = diffusers.SemanticStableDiffusionPipeline(**parts), diffusers.StableDiffusionPipeline(**parts)
    expected = latents(
        theirs,
        editing_prompt=list(TEXTS),
        reverse_editing_direction=[False, True, True],
        edit_weights=[1.0, 0.5, 0.25],
        edit_guidance_scale=settings.strength,
        edit_threshold=settings.threshold,
        edit_warmup_steps=settings.warmup,
        edit_momentum_scale=settings.momentum,
        edit_mom_beta=settings.decay,
        **call,
    )
    with guided(ours, encode(ours, TEXTS), np.array([[1.0], [-0.5], [-0.25]]), settings):
        drawn = latents(ours, **call)
    assert (drawn - latents(ours, **call)).abs().max() > 0.05
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-9)


def test_a_step_by_hand() -> None:
    """Two edits of one channel of four positions, threshold 1/2, and momentum that is gathered during warm-up."""
    guidance = Guidance(set_to(2.0, 0.5, 1, 0.5, 0.75), torch.tensor([[1.0], [-1.0]]))
    unconditional = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]]])
    edited = torch.tensor([[[[[2.0, 5.0], [0.0, -3.0]]]], [[[[1.0, 2.0], [4.0, 1.5]]]]])
    # Differences x 2: (2, 8, -2, -8) and (0, 2, 6, 1). The medians of their sizes are 5 and 1.5.
    total = torch.tensor([[[[0.0, 8.0 - 2.0], [0.0 - 6.0, -8.0]]]])
    assert torch.equal(guidance.step(unconditional, edited), torch.zeros_like(total))
    assert torch.equal(guidance.step(unconditional, edited), total + 0.5 * 0.25 * total)
    mean = 0.75 * 0.25 * total + 0.25 * 1.125 * total
    assert torch.equal(guidance.step(unconditional, edited), total + 0.5 * mean)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_prompt_that_is_its_own_edit_is_more_guidance(request: pytest.FixtureRequest, name: str) -> None:
    """Without threshold, warm-up and momentum: 2 + 3 (text - unconditional) is classifier-free guidance of 5."""
    pipe = request.getfixturevalue(name)
    with guided(
        pipe,
        encode(pipe, ["a nurse"]),
        np.ones((1, 1)),
        set_to(3.0, 0.0, 0, 0.0, 0.0),
    ):
        drawn = latents(pipe, guidance_scale=2.0)
    assert (latents(pipe, guidance_scale=2.0) - latents(pipe, guidance_scale=5.0)).abs().max() > 0.01
    torch.testing.assert_close(drawn, latents(pipe, guidance_scale=5.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_rows_have_edits_of_their_own(request: pytest.FixtureRequest, name: str) -> None:
    pipe = request.getfixturevalue(name)
    settings, edits = set_to(4.0, 0.8, 1, 0.5, 0.6), encode(pipe, TEXTS[:2])
    weights = np.array([[1.0, -1.0], [-1.0, 1.0]])
    with guided(pipe, edits, weights, settings):
        both = latents(pipe, (1, 2), guidance_scale=3.0)
    with guided(pipe, edits, weights[:, :1], settings):
        first = latents(pipe, (1,), guidance_scale=3.0)
    torch.testing.assert_close(both[:1], first, rtol=0, atol=1e-9)
    with guided(pipe, edits, weights[:, [1, 1]], settings):
        other = latents(pipe, (1, 2), guidance_scale=3.0)
    torch.testing.assert_close(other[1:], both[1:], rtol=0, atol=1e-9)
    assert (other[:1] - both[:1]).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strength_0_changes_no_bit_and_nothing_is_left_behind(sd: Any, dtype: torch.dtype) -> None:
    pipe = diffusers.StableDiffusionPipeline(**sd.components, requires_safety_checker=False).to(dtype)
    try:
        plain = latents(pipe)
        with guided(
            pipe,
            encode(pipe, TEXTS),
            np.array([[1.0], [-0.5], [-0.5]]),
            set_to(0.0, 0.95, 0, 0.5, 0.6),
        ):
            unchanged = latents(pipe)
        assert torch.equal(unchanged, plain)
        with (
            pytest.raises(RuntimeError, match="stop"),
            guided(pipe, encode(pipe, TEXTS), np.ones((3, 1)), set_to(4.0, 0.95, 0, 0.5, 0.6)),
        ):
            raise RuntimeError("stop")
        assert torch.equal(latents(pipe), plain)
    finally:
        pipe.to(torch.float64)


def test_an_edit_prompt_that_would_be_cut_is_refused(sd: Any) -> None:
    with pytest.raises(FairbenchError, match="of which the model's text encoder reads 77"):
        encode(sd, ["a person " * 30])
