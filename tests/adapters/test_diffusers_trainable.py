"""Diffusion models as training sees them: told what the pipeline tells its network, and adapters in its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from safetensors import safe_open
from safetensors.torch import load_file

from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.errors import CardError, WeightsError
from fairbench.networks import lora
from fairbench.networks.noising import sampled
from fairbench.protocols import DiffusionTrainable
from tests.builders.diffusers_adapter import build, draw
from tests.builders.diffusion_families import FAMILIES
from tests.builders.folders import written_once

GUIDANCE = 3.0
TARGETS = r".*\.attn[12]?\.to_(q|v)"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: written_once(tmp_path_factory, f"trained-{name}", save) for name, save in FAMILIES.items()}


def noise_of(denoising: Any, rows: int) -> torch.Tensor:
    return torch.randn(rows, *denoising.latent_shape, generator=torch.Generator().manual_seed(3))


def drawn(denoising: Any, texts: list[str], noise: torch.Tensor, count: int) -> torch.Tensor:
    """Sample with the module, conditions, guidance and steps that training has."""
    stated, blank = denoising.conditions(texts), denoising.blank_conditions(len(texts))

    def predict(latents: torch.Tensor, time: float) -> torch.Tensor:
        times = torch.full((len(texts),), time)
        prediction = denoising.module(latents, times, *stated)
        if denoising.guidance == 1:
            return prediction
        without = denoising.module(latents, times, *blank)
        return without + denoising.guidance * (prediction - without)

    with torch.no_grad():
        return sampled(predict, noise, denoising.steps(count))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_is_told_what_the_pipeline_tells_it(folders: dict[str, Path], family: str) -> None:
    """Four steps from the same noise end at the pipeline's own image: times, texts, sizes, guidance, packing."""
    adapter = build(folders[family], guidance=GUIDANCE)
    assert isinstance(adapter, DiffusionTrainable)
    denoising, pipe = adapter.denoising(), adapter._pipe
    texts, noise = ["a nurse", "a photo of the face of a computer programmer, a person"], noise_of(denoising, 2)
    mine = denoising.decode(drawn(denoising, texts, noise, 4))
    if denoising.component == "unet":
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    start = noise
    if family == "flux":
        start = pipe._pack_latents(noise, *noise.shape)
    output = pipe(texts, num_inference_steps=4, guidance_scale=GUIDANCE, latents=start, output_type="pt", **SIZE)
    assert output.images.std() > 0.01
    torch.testing.assert_close(mine, output.images, rtol=1e-3, atol=2e-4)


SIZE = {"height": 32, "width": 32}


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_unequal_length_are_read_as_if_alone(folders: dict[str, Path], family: str) -> None:
    denoising = build(folders[family], guidance=GUIDANCE).denoising()
    texts = ["a", "a photo of the face of a computer programmer, a person", "a nurse"]
    together, alone = denoising.conditions(texts), [denoising.conditions([text]) for text in texts]
    for part, rows in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(part, torch.cat(rows))
    latents, times = noise_of(denoising, 3), torch.tensor([10.0, 400.0, 900.0])
    with torch.no_grad():
        predictions = denoising.module(latents, times, *together)
        for row in range(3):
            own = denoising.module(latents[row : row + 1], times[row : row + 1], *alone[row])
            torch.testing.assert_close(predictions[row : row + 1], own, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(predictions[0], predictions[2])


def test_sdxl_is_told_the_size_that_it_draws(folders: dict[str, Path]) -> None:
    texts, pooled, sizes = build(folders["sdxl"], height=24, width=40).denoising().conditions(["a", "nurse"])
    assert sizes.tolist() == [[24.0, 40.0, 0.0, 0.0, 24.0, 40.0]] * 2
    assert texts.shape[0] == pooled.shape[0] == 2 and not torch.equal(pooled[0], pooled[1])


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_images_are_encoded_as_the_autoencoder_says(folders: dict[str, Path], family: str) -> None:
    """A picture of another shape is scaled to cover the size, and cropped in the middle."""
    denoising = build(folders[family]).denoising()
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    vae = denoising._pipe.vae
    middle = torch.from_numpy(pixels[:, 32:64]).permute(2, 0, 1)[None] / 255 * 2 - 1
    with torch.no_grad():
        mean = vae.encode(middle).latent_dist.mean
    shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
    latents = denoising.encode([pixels, pixels[:, 32:64]])
    assert latents.shape == (2, *denoising.latent_shape)
    for row in latents:
        np.testing.assert_allclose(row, ((mean - shift) * scale)[0].numpy(), rtol=1e-4, atol=1e-5)
    latents = torch.from_numpy(latents[:1]).requires_grad_()
    decoded = denoising.decode(latents)
    assert decoded.shape == (1, 3, 32, 32) and decoded.min() >= 0 and decoded.max() <= 1
    torch.testing.assert_close(decoded, (vae.decode(mean).sample / 2 + 0.5).clamp(0, 1), rtol=1e-3, atol=1e-4)
    decoded.sum().backward()
    assert latents.grad.abs().max() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_goes_to_its_file_and_back(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    """Trained weights draw the same images from their file, through diffusers, as in the trained network."""
    trained = build(folders[family])
    adapter = lora.new(trained.network(), TARGETS, rank=3, alpha=12.0, dropout=0.0, seed=1)
    plain = draw(build(folders[family]))
    assert np.array_equal(draw(trained), plain)
    with torch.no_grad():
        for name, tensor in lora.tensors_of(adapter).items():
            tensor.normal_(std=0.5, generator=torch.Generator().manual_seed(len(name)))
    tensors = lora.tensors_of(adapter)
    for name, content in lora.diffusers_files(adapter, tensors, trained.lora_prefix()).items():
        (tmp_path / name).write_bytes(content)
    with_file = draw(build(folders[family], tmp_path))
    assert np.abs(with_file - draw(trained)).max() <= 1
    assert np.abs(with_file - plain).mean() > 1

    fresh = build(folders[family])
    file = tmp_path / lora.DIFFUSERS_WEIGHTS
    again = lora.load_diffusers(fresh.network(), file, fresh.lora_prefix())
    read = lora.tensors_of(again)
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], tensors[name]) for name in read)
    assert np.array_equal(draw(fresh), draw(trained))
    (written,) = lora.diffusers_files(again, read, fresh.lora_prefix()).values()
    assert written == file.read_bytes()


def test_a_file_of_diffusers_own_tools_can_be_trained_further(folders: dict[str, Path], tmp_path: Path) -> None:
    """Written by the library's `save_lora_weights`, without a note of its alpha: which is then the rank."""
    from peft.utils import get_peft_model_state_dict

    model = build(folders["sd"])
    adapter = lora.new(model.network(), TARGETS, rank=2, alpha=2.0, dropout=0.0, seed=1)
    layers = {n.removeprefix("base_model.model."): t for n, t in get_peft_model_state_dict(adapter).items()}
    type(model._pipe).save_lora_weights(tmp_path, unet_lora_layers=layers)
    with safe_open(tmp_path / lora.DIFFUSERS_WEIGHTS, "pt") as stored:
        assert "lora_adapter_metadata" not in (stored.metadata() or {})
    again = lora.load_diffusers(build(folders["sd"]).network(), tmp_path / lora.DIFFUSERS_WEIGHTS, "unet")
    assert again.peft_config["default"].lora_alpha == 2
    assert load_file(tmp_path / lora.DIFFUSERS_WEIGHTS).keys() == {f"unet.{name}" for name in layers}


def test_a_lora_of_another_part_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    model = build(folders["sd"])
    adapter = lora.new(model.network(), TARGETS, rank=2, alpha=2.0, dropout=0.0, seed=1)
    file = tmp_path / lora.DIFFUSERS_WEIGHTS
    file.write_bytes(lora.diffusers_files(adapter, lora.tensors_of(adapter), "text_encoder")[lora.DIFFUSERS_WEIGHTS])
    with pytest.raises(WeightsError, match=r"text_encoder\..* is no layer of its unet in the form of diffusers"):
        lora.load_diffusers(build(folders["sd"]).network(), file, "unet")
    file.write_bytes(b"pickled")
    with pytest.raises(WeightsError, match="cannot be loaded as a LoRA of this model"):
        lora.load_diffusers(build(folders["sd"]).network(), file, "unet")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"offload": "model"}, "cannot be trained with `offload`"),
        ({"quantization": "nf4"}, "cannot be trained with `quantization`"),
        ({"guidance_argument": "true_cfg_scale", "guidance": 1.0}, "cannot be trained with `guidance_argument`"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(
    folders: dict[str, Path], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CardError, match=sentence):
        build(folders["sd"], **settings).network()


def test_other_pipelines_and_schedules_are_refused(folders: dict[str, Path], tiny_z: Path) -> None:
    with pytest.raises(CardError, match="ZImagePipeline is none of StableDiffusionPipeline, "):
        build(tiny_z).network()
    sample = {"scheduler": "DDIMScheduler", "scheduler_options": {"prediction_type": "sample"}}
    with pytest.raises(CardError, match="DDIMScheduler with prediction_type sample is not known"):
        build(folders["sd"], **sample).network()


def test_a_guided_distilled_flux_is_told_the_cards_guidance(folders: dict[str, Path]) -> None:
    assert isinstance(build(folders["flux"]), DiffusersAdapter)
    denoising = build(folders["flux"], guidance=3.5).denoising()
    seen: dict[str, Any] = {}
    net = denoising.module.net
    net.register_to_config(guidance_embeds=True)
    net.forward = lambda **inputs: (seen.update(inputs), (inputs["hidden_states"],))[1]
    latents = noise_of(denoising, 2)
    output = denoising.module(latents, torch.tensor([500.0, 250.0]), *denoising.conditions(["a", "b"]))
    assert seen["guidance"].tolist() == [3.5, 3.5] and seen["timestep"].tolist() == [0.5, 0.25]
    torch.testing.assert_close(output, latents)  # packed, and unpacked again
