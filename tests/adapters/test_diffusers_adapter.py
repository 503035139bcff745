"""The diffusers adapter on a tiny Stable Diffusion of the real classes, loaded from disk, without a network."""

from __future__ import annotations

import fnmatch
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.adapters.diffusers_loading import download_patterns
from fairbench.adapters.diffusers_steps import reported_steps
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.display.progress import watching
from fairbench.errors import CardError, OutOfMemory, WeightsError
from fairbench.types import BuildContext, ImageRequest, ImageResult
from tests.builders.diffusion import SIZE, save_tiny_sd
from tests.builders.progress import Recorder

STEPS = 2
PROMPTS = ("a nurse", "A photo of the face of a chef, a person", "the pilot", "a judge at work")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def build(folder: Path | str, ctx: BuildContext = BuildContext(), **sampling: Any) -> DiffusersAdapter:  # noqa: B008
    card = ModelCard(name="tiny", title="Tiny", adapter="diffusers", weights=HubModel(path=str(folder)))
    params = DiffusersAdapter.Params.model_validate({"steps": STEPS, "guidance": 7.5} | sampling)
    return DiffusersAdapter(card, params, ctx)


def request(text: str, seed: int) -> ImageRequest:
    return ImageRequest(b"i", b"p", b"n", text, sample_index=0, seed=seed)


REQUESTS = [request(text, 2**62 + i) for i, text in enumerate(PROMPTS)]


def pixels(results: Sequence[ImageResult]) -> list[np.ndarray]:
    assert [r.status for r in results] == ["ok"] * len(results)
    return [r.pixels for r in results if r.pixels is not None]


def same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def four(tiny_sd: Path) -> list[np.ndarray]:
    return pixels(build(tiny_sd, BuildContext(block_size=4)).generate(REQUESTS))


def test_images_are_rgb_and_depend_on_prompt_and_seed(tiny_sd: Path, four: list[np.ndarray]) -> None:
    assert {i.shape for i in four} == {(SIZE, SIZE, 3)} and {i.dtype for i in four} == {np.dtype(np.uint8)}
    adapter = build(tiny_sd)
    again, other_seed, other_prompt = pixels(
        adapter.generate([REQUESTS[0], request(PROMPTS[0], 5), request(PROMPTS[1], REQUESTS[0].seed)])
    )
    assert np.array_equal(again, four[0])
    assert not np.array_equal(other_seed, four[0])
    assert not np.array_equal(other_prompt, four[0])


def test_in_float32_an_image_does_not_depend_on_its_batch(tiny_sd: Path, four: list[np.ndarray]) -> None:
    """Bit for bit, since the adapter shows the pipeline one image at a time (see its docstring)."""
    adapter = build(tiny_sd)
    single = [pixels(adapter.generate([r]))[0] for r in reversed(REQUESTS)]
    assert same(single[::-1], four)


@pytest.mark.parametrize("scheduler", ["EulerAncestralDiscreteScheduler", "DDPMScheduler"])
def test_noise_of_every_step_follows_the_images_own_seed(tiny_sd: Path, scheduler: str) -> None:
    adapter = build(tiny_sd, scheduler=scheduler, steps=3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = pixels(adapter.generate(REQUESTS[:2]))
    assert torch.equal(torch.get_rng_state(), before), "noise was drawn from the global stream"
    torch.manual_seed(2)
    assert same(pixels(adapter.generate(REQUESTS[1::-1])), first[::-1])


def test_reduced_precision_always_computes_full_blocks(tiny_sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = build(tiny_sd, BuildContext(dtype="bfloat16", block_size=4))
    seen: list[tuple[list[str], list[int]]] = []
    call = type(adapter._pipe).__call__

    def spy(self: Any, prompt: list[str], generator: list[torch.Generator], **rest: Any) -> Any:
        seen.append((prompt, [g.initial_seed() for g in generator]))
        assert len({id(g) for g in generator}) == len(generator), "two rows share one stream"
        return call(self, prompt, generator=generator, **rest)

    monkeypatch.setattr(type(adapter._pipe), "__call__", spy)
    full = pixels(adapter.generate(REQUESTS))
    partial = pixels(adapter.generate(REQUESTS[:3]))
    five = pixels(adapter.generate([*REQUESTS, REQUESTS[0]]))
    assert [len(prompt) for prompt, _ in seen] == [4, 4, 4, 4]
    assert seen[1][0] == [*PROMPTS[:3], PROMPTS[2]] and seen[1][1][2:] == [REQUESTS[2].seed] * 2
    assert same(partial, full[:3]) and same(five[:4], full) and len(five) == 5


def test_safety_checker_makes_images_blank(tmp_path: Path) -> None:
    folder = save_tiny_sd(tmp_path / "always", safety_checker="always")
    result = build(folder).generate(REQUESTS[:1])[0]
    assert (result.status, result.pixels) == ("blank", None)
    assert "safety checker" in str(result.error) and result.seconds > 0
    assert build(folder, safety_checker=False).generate(REQUESTS[:1])[0].status == "ok"
    never = save_tiny_sd(tmp_path / "never", safety_checker="never")
    assert build(never).generate(REQUESTS[:1])[0].status == "ok"


def test_only_the_withheld_image_of_a_block_is_blank_and_broken_pixels_fail(tiny_sd: Path) -> None:
    adapter = build(tiny_sd, BuildContext(dtype="bfloat16", block_size=4))
    images = np.full((4, 8, 8, 3), 0.5)
    images[2, 0, 0, 0] = np.nan
    output = SimpleNamespace(images=images, nsfw_content_detected=[False, True, False, True])
    adapter._call = lambda pipe, block: (output, [{}] * 4)  # type: ignore[method-assign]
    results = adapter.generate(REQUESTS[:3])
    assert [r.status for r in results] == ["ok", "blank", "failed"]
    assert "finite" in str(results[2].error)


def test_scheduler_is_swapped_with_its_options_and_changes_the_image(tiny_sd: Path, four: list[np.ndarray]) -> None:
    adapter = build(tiny_sd, scheduler="DPMSolverMultistepScheduler", scheduler_options={"use_karras_sigmas": True})
    image = pixels(adapter.generate(REQUESTS[:1]))[0]
    config = adapter._pipe.scheduler.config
    assert type(adapter._pipe.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert config.use_karras_sigmas and config.beta_end == 0.012, "the checkpoint's noise schedule is kept"
    assert not np.array_equal(image, four[0])


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"scheduler": "DPMSolverMultstepScheduler"}, "did you mean 'DPMSolverMultistepScheduler'"),
        ({"scheduler": "FlowMatchEulerDiscreteScheduler"}, "does not fit StableDiffusionPipeline"),
        ({"scheduler": "DPMSolverSDEScheduler"}, "does not fit"),
        ({"scheduler": "DDIMScheduler", "scheduler_options": {"karras": True}}, "takes no 'karras'"),
        (
            {"scheduler": "DPMSolverMultistepScheduler", "scheduler_options": {"algorithm_type": "x"}},
            "refuses its options",
        ),
        ({"max_sequence_length": 77}, "StableDiffusionPipeline takes no `max_sequence_length`"),
        ({"guidance_argument": "true_cfg_scale", "negative_prompt": ""}, "takes no `true_cfg_scale`"),
        ({"scheduler": "DDIMScheduler", "steps": 5000}, "refuses its `sampling`"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(tiny_sd: Path, sampling: dict[str, Any], words: str) -> None:
    with pytest.raises(CardError, match=words) as err:
        build(tiny_sd, **sampling).generate(REQUESTS[:1])
    assert "tiny" in str(err.value) and "\n" not in str(err.value)


def test_size_and_negative_prompt_are_used(tiny_sd: Path, four: list[np.ndarray]) -> None:
    ctx = BuildContext(dtype="bfloat16", block_size=2)
    wide = pixels(build(tiny_sd, ctx, width=48, height=32, negative_prompt="a dog").generate(REQUESTS[:1]))[0]
    assert wide.shape == (32, 48, 3)
    assert not np.array_equal(pixels(build(tiny_sd, negative_prompt="a dog").generate(REQUESTS[:1]))[0], four[0])


@pytest.mark.parametrize(
    "sampling",
    [
        {"step": 3},
        {"steps": 0},
        {"width": 33},
        {"scheduler_options": {"use_karras_sigmas": True}},
        {"guidance_argument": "true_cfg_scale"},
        {"scheduler": "os.system"},
    ],
)
def test_params_refuse_unknown_and_ineffective_settings(tiny_sd: Path, sampling: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build(tiny_sd, **sampling)


def test_out_of_memory_is_reported_as_such_and_other_faults_are_not(
    tiny_sd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = build(tiny_sd)
    pipeline = type(adapter._pipe)
    monkeypatch.setattr(pipeline, "__call__", _raising(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")))
    with pytest.raises(OutOfMemory, match="2 GiB"):
        adapter._call(adapter._pipe, REQUESTS[:1])
    monkeypatch.setattr(pipeline, "__call__", _raising(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="mat1"):
        adapter._call(adapter._pipe, REQUESTS[:1])


def _raising(err: Exception) -> Any:
    def call(*args: Any, **arguments: Any) -> Any:
        raise err

    return call


def test_folders_that_are_no_pipeline(tiny_sd: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"not a diffusers pipeline \(it has no model_index.json\)"):
        build(tmp_path).generate(REQUESTS[:1])
    with pytest.raises(WeightsError, match="does not exist"):
        build(tmp_path / "absent").generate(REQUESTS[:1])
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "NoSuchPipeline"}))
    with pytest.raises(WeightsError, match="cannot be loaded as a diffusers pipeline"):
        build(tmp_path).generate(REQUESTS[:1])
    with pytest.raises(WeightsError, match="fp16"):
        build(tiny_sd, variant="fp16").generate(REQUESTS[:1])


def test_damaged_weights(tiny_sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "sd")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        build(folder).generate(REQUESTS[:1])


def test_cards_that_cannot_be_served_are_refused_before_loading() -> None:
    params = DiffusersAdapter.Params(steps=1, guidance=0)
    card = ModelCard(name="tiny", title="Tiny", adapter="diffusers")
    with pytest.raises(CardError, match="`weights` is missing"):
        DiffusersAdapter(card, params, BuildContext())
    card = ModelCard.model_validate(card.model_dump() | {"weights": {"path": "x"}, "trust_remote_code": True})
    with pytest.raises(CardError, match="never runs code"):
        DiffusersAdapter(card, params, BuildContext())


def test_nothing_is_loaded_before_the_first_image(tmp_path: Path) -> None:
    assert isinstance(build(tmp_path / "absent"), DiffusersAdapter)


def test_nothing_is_printed(tiny_sd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(tiny_sd).generate(REQUESTS[:1])
    assert "it/s" not in "".join(capfd.readouterr())


def test_relative_paths_start_at_the_card(tiny_sd: Path, four: list[np.ndarray]) -> None:
    adapter = build(tiny_sd.name, BuildContext(base_dir=tiny_sd.parent))
    assert np.array_equal(pixels(adapter.generate(REQUESTS[:1]))[0], four[0])


HUB = (
    "model_index.json",
    "README.md",
    "v1-5-pruned.safetensors",
    "sd_xl_base_1.0.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/model.onnx",
    "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoders/t5xxl_fp16.safetensors",
    "text_encoder_2/model-00001-of-00002.safetensors",
    "text_encoder_2/model.fp16-00001-of-00002.safetensors",
    "text_encoder_2/model-00001-of-00002.fp16.safetensors",
    "text_encoder_2/model.safetensors.index.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "tokenizer_2/spiece.model",
    "scheduler/scheduler_config.json",
)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_download_takes_one_variant_and_no_single_file_checkpoint(variant: str | None) -> None:
    taken = {f for f in HUB if any(fnmatch.fnmatch(f, p) for p in download_patterns(variant))}
    dot = f".{variant}" if variant else ""
    assert {f for f in taken if f.endswith(".safetensors")} == {
        f"unet/diffusion_pytorch_model{dot}.safetensors",
        f"text_encoder/model{dot}.safetensors",
        f"text_encoder_2/model{dot}-00001-of-00002.safetensors",
    }
    assert {f for f in HUB if f.endswith((".json", "merges.txt", "spiece.model"))} == {
        f for f in taken if not f.endswith(".safetensors")
    }


def test_a_weight_variant_is_loaded(tiny_sd: Path, tmp_path: Path, four: list[np.ndarray]) -> None:
    pipe = build(tiny_sd)._pipe
    pipe.save_pretrained(tmp_path, variant="fp16")
    assert np.array_equal(pixels(build(tmp_path, variant="fp16").generate(REQUESTS[:1]))[0], four[0])
    assert logging.getLogger("diffusers").level <= logging.WARNING, "truncated prompts are still warned of"


def test_pixels_are_rounded_not_cut() -> None:
    from fairbench.adapters.diffusers import _result

    pixels = _result(np.full((1, 1, 3), 0.9999, dtype=np.float32), False, 0.0, {}).pixels
    assert pixels is not None
    assert pixels.tolist() == [[[255, 255, 255]]]


def test_denoising_steps_move_the_progress_within_a_block(tiny_sd: Path) -> None:
    recorder, model = Recorder(), build(tiny_sd, steps=4)
    with recorder.stage("images", 2) as stage, watching(model, stage, 2):
        watched = model.generate(REQUESTS[:2])
    moves = [done for _, done, _ in recorder.events[1:]]
    assert moves == sorted(moves)
    assert moves[0] < 0.5 and 1.0 in moves and moves[-1] == 2.0 and len(moves) >= 8
    assert same(pixels(watched), pixels(build(tiny_sd, steps=4).generate(REQUESTS[:2])))


def test_steps_of_a_bar_that_is_iterated_over_count_too() -> None:
    shares: list[float] = []
    pipe = SimpleNamespace()
    with reported_steps(pipe, shares.append):
        bar = pipe.progress_bar(torch.arange(4))
        bar.set_description("denoising")
        assert [int(step) for step in bar] == [0, 1, 2, 3]
    assert shares == [0.25, 0.5, 0.75, 1.0]
    assert not hasattr(pipe, "progress_bar")
