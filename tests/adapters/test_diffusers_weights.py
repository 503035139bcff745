"""Weights of the diffusers adapter that are no plain folder: single files, parts from elsewhere, fewer bits."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from fairbench.adapters import diffusers_loading, diffusers_pipelines
from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.errors import CardError, MissingExtra, WeightsError
from fairbench.runs import spec
from fairbench.types import BuildContext, ImageRequest
from tests.builders.diffusers_adapter import build, draw, weights_of

# --- weights in a single file ---


ORIGINAL_NAMES = {
    "all_final_layer.2-1.": "final_layer.",
    "all_x_embedder.2-1.": "x_embedder.",
    ".attention.to_out.0.": ".attention.out.",
    ".attention.norm_k.": ".attention.k_norm.",
    ".attention.norm_q.": ".attention.q_norm.",
}


@pytest.fixture
def single(tiny_z: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A file with the denoiser's weights under their original names, and the folder with everything else."""
    config = tmp_path / "config"
    shutil.copytree(tiny_z, config)
    weights, file = weights_of(config, "transformer")
    file.unlink()
    for name in [n for n in weights if n.endswith("attention.to_q.weight")]:
        qkv = [weights.pop(name.replace("to_q", f"to_{part}")) for part in "qkv"]
        weights[name.replace("to_q", "qkv")] = torch.cat(qkv)
    for theirs, original in ORIGINAL_NAMES.items():
        weights = {name.replace(theirs, original): tensor for name, tensor in weights.items()}
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in weights.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", config


def test_a_single_file_gives_the_images_of_its_folder(tiny_z: Path, single: tuple[Path, Path]) -> None:
    file, config = single
    adapter = build(file, config={"path": str(config)})
    assert np.array_equal(draw(adapter), draw(build(tiny_z)))
    settings = adapter.effective_settings()
    assert settings["weights"].keys() == {"model.safetensors"} and settings["pipeline"] == "ZImagePipeline"


def test_a_single_files_content_and_its_configuration_are_in_the_key(single: tuple[Path, Path], tmp_path: Path) -> None:
    file, config = single

    def key(path: str, folder: str) -> str:
        card = tmp_path / "tiny.yaml"
        sampling = {"config": {"path": folder}}
        fields = {"name": "tiny", "title": "T", "adapter": "diffusers", "weights": {"path": path}, "sampling": sampling}
        card.write_text(yaml.safe_dump(fields))
        settings = spec.RunSettings(str(card), "occupations-mini", images_per_prompt=1, limit_prompts=1, device="cpu")
        return spec.make(settings).image_key

    first = key(file.name, "config")
    assert key(str(file), str(config)) == first
    shutil.copytree(config, tmp_path / "other")
    (tmp_path / "other" / "scheduler" / "scheduler_config.json").write_text("{}")
    assert key(file.name, "other") != first
    save_file({"x": torch.ones(1)}, file)
    assert key(file.name, "config") != first


def test_single_files_that_cannot_be_used_are_one_sentence(tiny_sd: Path, single: tuple[Path, Path]) -> None:
    file, config = single
    given = {"config": {"path": str(config)}}
    with pytest.raises(
        CardError, match=r"model\.safetensors holds weights alone, without a configuration: name a local"
    ):
        draw(build(file))
    with pytest.raises(CardError, match="`variant` does not work with weights in a single file"):
        draw(build(file, variant="fp16", **given))
    with pytest.raises(CardError, match="`config` is for weights in a single file"):
        draw(build(tiny_sd, **given))
    other = file.with_name("model.ckpt")
    other.write_bytes(pickle.dumps({}))
    with pytest.raises(CardError, match=r"model\.ckpt is no \.safetensors file"):
        draw(build(other, **given))
    pickled = config / "transformer" / "diffusion_pytorch_model.bin"
    pickled.write_bytes(pickle.dumps({}))
    with pytest.raises(CardError, match=r"diffusion_pytorch_model\.bin can run code when it is read"):
        draw(build(file, **given))
    pickled.unlink()
    (config / "model_index.json").unlink()
    with pytest.raises(CardError, match=r"has no model_index\.json: name a local folder"):
        draw(build(file, **given))
    with pytest.raises(ValueError, match="config: give the `path` of a local folder"):
        build(file, config={"repo": "a/b"})


# --- parts from elsewhere, fewer bits, offloading ---


def test_a_part_may_lie_in_a_folder_of_its_own(tiny_sd: Path, tmp_path: Path) -> None:
    """As HiDream-I1's language model, which its repository lacks."""
    folder = shutil.copytree(tiny_sd, tmp_path / "sd")
    for part in ("text_encoder", "tokenizer"):
        shutil.move(folder / part, tmp_path / part)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder": [None, None], "tokenizer": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    parts = {part: {"path": str(tmp_path / part)} for part in ("text_encoder", "tokenizer")}
    adapter = build(folder, components=parts)
    assert adapter.missing() == []
    assert np.array_equal(draw(adapter), draw(build(tiny_sd)))
    (tmp_path / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded as its text_encoder"):
        draw(build(folder, components=parts))
    absent = {"text_encoder": {"path": str(tmp_path / "gone")}, "tokenizer": {"repo": "nobody/nothing"}}
    told = build(folder, components=absent).missing()
    assert told[0].endswith("gone: there is no such folder") and told[1].startswith("tokenizer: nobody/nothing: not on")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="the package is here")
@pytest.mark.parametrize("bits", ["nf4", "int8"])
def test_fewer_bits_without_their_package_are_one_sentence(tiny_sd: Path, bits: str) -> None:
    adapter = build(tiny_sd, quantization=bits)
    with pytest.raises(MissingExtra, match=r"pip install 'fairbench-umm\[quant\]'"):
        draw(adapter)
    (told,) = adapter.missing()
    assert told.startswith("quantization: ") and "[quant]" in told


def test_fewer_bits_are_asked_for_denoiser_and_text_encoders(tiny_sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the libraries are told; loading with them needs a GPU and was not run."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(diffusers, "PipelineQuantizationConfig", lambda **given: given)
    ctx = BuildContext(dtype="bfloat16")
    four = diffusers_loading._quantization(tiny_sd, "nf4", ctx)
    assert four["components_to_quantize"] == ["text_encoder", "unet"]
    assert four["quant_kwargs"]["bnb_4bit_compute_dtype"] == torch.bfloat16 and four["quant_kwargs"]["load_in_4bit"]
    eight = diffusers_loading._quantization(tiny_sd, "int8", ctx)
    assert (eight["quant_backend"], eight["quant_kwargs"]) == ("bitsandbytes_8bit", {"load_in_8bit": True})


def test_bits_are_in_the_key_and_offloading_is_not(tiny_sd: Path, tmp_path: Path) -> None:
    keys = []
    for sampling in ({}, {"offload": "model"}, {"quantization": "nf4"}, {"quantization": "int8"}):
        card = tmp_path / "tiny.yaml"
        fields = {"name": "tiny", "title": "T", "adapter": "diffusers", "weights": {"path": str(tiny_sd)}}
        card.write_text(yaml.safe_dump(fields | {"sampling": sampling}))
        settings = spec.RunSettings(str(card), "occupations-mini", images_per_prompt=1, limit_prompts=1, device="cpu")
        keys.append(spec.make(settings).image_key)
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_offloading_asks_the_pipeline_on_a_gpu_and_does_nothing_on_a_cpu(tiny_sd: Path) -> None:
    asked: list[tuple[str, str]] = []
    pipe = SimpleNamespace(
        to=lambda device: asked.append(("to", device)),
        enable_model_cpu_offload=lambda device: asked.append(("model", device)),
        enable_sequential_cpu_offload=lambda device: asked.append(("sequential", device)),
    )
    for device, how in (("cuda:1", None), ("cuda:1", "model"), ("cuda:1", "sequential"), ("cpu", "model")):
        diffusers_loading.on_device(pipe, device, how)
    assert asked == [("to", "cuda:1"), ("model", "cuda:1"), ("sequential", "cuda:1"), ("to", "cpu")]
    assert np.array_equal(draw(build(tiny_sd, offload="model")), draw(build(tiny_sd)))


# --- single pipelines ---


class Hunyuan(SimpleNamespace):
    """What is looked at of HunyuanImage 2.1, with its real guider and its real call."""

    __call__ = diffusers.HunyuanImagePipeline.__call__


def hunyuan(distilled: bool) -> Any:
    return Hunyuan(
        guider=diffusers.AdaptiveProjectedMixGuidance(guidance_scale=7.0, adaptive_projected_guidance_scale=9.0),
        transformer=SimpleNamespace(config={"guidance_embeds": distilled}),
        config={},
        components={},
    )


def test_hunyuans_guidance_is_that_of_its_guider() -> None:
    """The undistilled model ignored the argument that stood for its guidance."""
    params = DiffusersAdapter.Params(guidance=3.5, guidance_argument="guider")
    pipe = hunyuan(distilled=False)
    diffusers_pipelines.check(pipe, params, "card")
    diffusers_pipelines.prepare(pipe, params)
    assert (pipe.guider.guidance_scale, pipe.guider.adaptive_projected_guidance_scale) == (3.5, 9.0)
    assert not {"guider", "guidance_scale"} & diffusers_pipelines.own_arguments(pipe, params, 1).keys()
    embedded = DiffusersAdapter.Params(guidance=3.25, guidance_argument="distilled_guidance_scale")
    diffusers_pipelines.check(hunyuan(distilled=True), embedded, "card")
    with pytest.raises(CardError, match="would ignore the guidance; set `guidance_argument: guider`"):
        diffusers_pipelines.check(pipe, embedded, "card")
    pipe.guider = None
    with pytest.raises(CardError, match="has no guider"):
        diffusers_pipelines.check(pipe, params, "card")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_inference_steps": 3}, "set `steps` instead"),
        ({"guidance_scale": 3.0}, "set `guidance` instead"),
        ({"use_pe": True}, "set `rewrite_prompts` instead"),
        ({"complex_human_instruction": "x"}, "set `system_prompt` instead"),
        ({"num_images_per_prompt": 4}, "is set for each image; remove it"),
    ],
)
def test_arguments_that_have_a_field_of_their_own_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DiffusersAdapter.Params(arguments=arguments)


def test_a_guardrail_that_withholds_leaves_a_blank_image(tiny_sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cosmos 3 raises, which was taken for a card that does not fit."""
    adapter = build(tiny_sd)

    def guarded(*_: Any, **__: Any) -> Any:
        raise ValueError("Cosmos Guardrail detected unsafe text in the prompt: a nurse.")

    guarded.__signature__ = __import__("inspect").signature(type(adapter._pipe).__call__)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(adapter._pipe), "__call__", guarded)
    (result,) = adapter.generate([ImageRequest(b"i", b"p", b"n", "a nurse", 0, 7)])
    assert result.status == "blank" and "guardrail withheld the image" in str(result.error)


def test_cosmos_guardrail_is_turned_off_when_the_pipeline_is_built() -> None:
    """Else its package is asked for, whatever the card says."""
    for checked in (True, False):
        params = DiffusersAdapter.Params(safety_checker=checked)
        switches = diffusers_loading._switches(diffusers.Cosmos3OmniPipeline, params)
        assert switches == {"enable_safety_checker": checked}
    assert diffusers_loading._switches(diffusers.FluxPipeline, DiffusersAdapter.Params()) == {}
