"""A LoRA in the form of diffusers does what its matrices say, is in the key, and is refused where it does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fairbench.errors import CardError, WeightsError
from fairbench.runs import spec
from tests.builders.diffusers_adapter import build, draw, weights_of

RANK, ALPHA = 4, 12.0
SD_LAYERS = (
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
    "text_encoder.encoder.layers.0.self_attn.q_proj",
)
Z_LAYERS = ("transformer.layers.0.attention.to_q", "transformer.layers.0.attention.to_v")


def matrices(folder: Path, layers: tuple[str, ...]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return A (rank, inputs) and B (outputs, rank) of each layer: large enough to be seen."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for layer in layers:
        component, _, module = layer.partition(".")
        weight = weights_of(folder, component)[0][f"{module.removeprefix('text_model.')}.weight"]
        a = torch.randn(RANK, weight.shape[1], generator=generator)
        found[layer] = a, torch.randn(weight.shape[0], RANK, generator=generator) * 0.3
    return found


def save_lora(target: Path, base: Path, layers: tuple[str, ...]) -> Path:
    """Write a LoRA as diffusers' own training scripts do."""
    tensors, notes = {}, {}
    for layer, (a, b) in matrices(base, layers).items():
        component = layer.partition(".")[0]
        tensors |= {f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}
        notes |= {f"{component}.r": RANK, f"{component}.lora_alpha": ALPHA}
        notes.setdefault(f"{component}.target_modules", []).append(layer.partition(".")[2])
    target.mkdir(parents=True)
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(notes)}
    save_file(tensors, target / "pytorch_lora_weights.safetensors", metadata=metadata)
    return target


def merged_by_hand(target: Path, base: Path, layers: tuple[str, ...]) -> Path:
    """Write the checkpoint with alpha / rank * B A added to its weights, without peft and diffusers."""
    shutil.copytree(base, target)
    for layer, (a, b) in matrices(base, layers).items():
        component, _, module = layer.partition(".")
        _, file = weights_of(target, component)
        tensors = load_file(file)
        name = next(
            n for n in tensors if n.removeprefix("text_model.") == f"{module.removeprefix('text_model.')}.weight"
        )
        tensors[name] = tensors[name] + ALPHA / RANK * (b @ a)
        save_file(tensors, file, metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("kind", ["unet and text encoder", "transformer"])
def test_a_lora_does_what_its_matrices_say(tiny_sd: Path, tiny_z: Path, tmp_path: Path, kind: str) -> None:
    """Against weights that were merged by hand; alpha is thrice the rank, so that a wrong scale would show."""
    base, layers = (tiny_z, Z_LAYERS) if kind == "transformer" else (tiny_sd, SD_LAYERS)
    lora = save_lora(tmp_path / "lora", base, layers)
    plain, tuned = draw(build(base)), draw(build(base, lora))
    by_hand = draw(build(merged_by_hand(tmp_path / "merged", base, layers)))
    assert np.abs(tuned - by_hand).max() <= 1
    assert np.abs(tuned - plain).mean() > 2
    assert np.array_equal(draw(build(base, lora / "pytorch_lora_weights.safetensors")), tuned)


def test_a_lora_is_a_method_and_in_the_key(tiny_sd: Path, tmp_path: Path) -> None:
    card = tmp_path / "tiny.yaml"
    card.write_text(
        yaml.safe_dump({"name": "tiny", "title": "T", "adapter": "diffusers", "weights": {"path": str(tiny_sd)}})
    )
    lora = save_lora(tmp_path / "lora", tiny_sd, SD_LAYERS)

    def planned(method: str) -> spec.RunSpec:
        settings = spec.RunSettings(
            str(card), "occupations-mini", method, images_per_prompt=1, limit_prompts=1, device="cpu"
        )
        return spec.make(settings)

    plain, tuned = planned("none"), planned(f"lora:{lora}")
    assert plain.image_key != tuned.image_key and plain.requests[0].seed == tuned.requests[0].seed
    assert tuned.method.startswith("lora:lora@")
    file = shutil.copy(lora / "pytorch_lora_weights.safetensors", tmp_path / "fair.safetensors")
    assert planned(f"lora:{file}").image_key == tuned.image_key
    published = tmp_path / "published.yaml"
    fields = {"method": "lora", "base": "tiny", "weights": {"path": "."}, "file": "fair.safetensors", "licence": "MIT"}
    published.write_text(yaml.safe_dump(fields))
    assert planned(f"lora:{published}").image_key == tuned.image_key
    assert tuned.adapter.effective_settings()["lora"].keys() == {"pytorch_lora_weights.safetensors"}
    (tmp_path / "peft").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "peft" / name).write_bytes(b"{}")
    with pytest.raises(
        CardError, match=r"is a LoRA in peft's form .*, but this model takes one in the form of diffusers"
    ):
        planned(f"lora:{tmp_path / 'peft'}")


def test_a_lora_that_does_not_fit_is_refused(tiny_sd: Path, tiny_z: Path, tmp_path: Path) -> None:
    """diffusers loads what fits of it, warns of the rest, and goes on."""
    lora = save_lora(tmp_path / "lora", tiny_sd, SD_LAYERS)
    with pytest.raises(WeightsError, match="does not fit the model tiny"):
        draw(build(tiny_z, lora))
    file = lora / "pytorch_lora_weights.safetensors"
    tensors = load_file(file)
    (tmp_path / "more").mkdir()
    more = {f"unet.no_such_block.to_q.lora_{half}.weight": torch.ones(4, 4) for half in "AB"}
    save_file(tensors | more, tmp_path / "more" / file.name)
    with pytest.raises(WeightsError, match="does not fit the model tiny"):
        draw(build(tiny_sd, tmp_path / "more"))
    file.write_bytes(b"pickled")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        draw(build(tiny_sd, lora))
    with pytest.raises(CardError, match=r"gone\.safetensors does not exist: name a LoRA's"):
        draw(build(tiny_sd, tmp_path / "gone.safetensors"))


def test_a_pipeline_without_lora_says_so(tmp_path: Path, tiny_sd: Path) -> None:
    lora = save_lora(tmp_path / "lora", tiny_sd, SD_LAYERS)
    from fairbench.adapters import diffusers_lora

    with pytest.raises(CardError, match="SimpleNamespace takes no LoRA"):
        diffusers_lora.put(SimpleNamespace(), lora, "tiny", fuse=True)
