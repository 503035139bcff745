"""Diffusion models are trained by the same loop: the loss is what its formula says, and the adapter is used in runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file

from fairbench.cards import catalog
from fairbench.display.progress import SILENT
from fairbench.networks import lora
from fairbench.synthesis import balanced
from fairbench.training import finetune
from fairbench.training.job import Job
from fairbench.training.presets import Settings
from tests.builders.cli import Cli
from tests.builders.diffusers_adapter import build, draw
from tests.builders.diffusion_families import FAMILIES, card_of
from tests.builders.folders import written_once
from tests.builders.progress import Recorder

SMALL: dict[str, Any] = {"learning_rate": 1e-2, "batch": 4, "rank": 4, "alpha": 4.0, "seed": 7, "dropout": 0.0}
Make = Callable[..., Job]


@pytest.fixture
def job(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, balanced_manifest: Path) -> Make:
    def make(family: str = "sd", out: str = "out", steps: int = 1, **settings: Any) -> Job:
        weights = written_once(tmp_path_factory, f"trained-{family}", FAMILIES[family])
        card = catalog.load_model(str(card_of(tmp_path, weights)))
        rest = {name: settings.pop(name) for name in ("parent",) if name in settings}
        asked = Settings("sft", steps=steps, **(SMALL | settings))
        data = balanced.read(balanced_manifest)
        return Job(asked, card, data, tmp_path / out, device="cpu", save_every=2, log_every=1, **rest)

    return make


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def by_hand(family: str, weights: Path, task: Job) -> float:
    """Return the first step's loss from the library's own schedulers and networks, example by example."""
    pipe = build(weights, guidance=2.0)._pipe
    total = 0.0
    for position, row in enumerate(task.order.examples(0, 4)[:, 0]):
        example = task.data.rows[row]
        rng = np.random.default_rng([7, 0, position, 5])
        pixels = torch.from_numpy(_picture(example.image)).permute(2, 0, 1)[None].float() / 127.5 - 1
        config = pipe.vae.config
        with torch.no_grad():
            x = (pipe.vae.encode(pixels).latent_dist.mean - (config.shift_factor or 0)) * config.scaling_factor
            if family in {"sd", "velocity", "sdxl"}:
                time = torch.tensor([int(rng.integers(1000))])
                noise = torch.from_numpy(rng.standard_normal(x.shape[1:], dtype=np.float32))[None]
                scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
                noised = scheduler.add_noise(x, noise, time)
                # alpha e - sigma x, from the schedule itself
                alpha, sigma = scheduler.alphas_cumprod[time].sqrt(), (1 - scheduler.alphas_cumprod[time]).sqrt()
                target = alpha * noise - sigma * x if family == "velocity" else noise
                found = _unet(pipe, family, noised, time, example.prompt)
            else:
                u = 1 / (1 + np.exp(-rng.standard_normal()))
                shift = 3.0 if family == "sd3" else 1.0
                s = shift * u / (1 + (shift - 1) * u)
                noise = torch.from_numpy(rng.standard_normal(x.shape[1:], dtype=np.float32))[None]
                assert isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)
                noised, target = ((1 - s) * x + s * noise).float(), noise - x
                found = _transformer(pipe, family, noised, s, example.prompt)
        total += float((found.double() - target.double()).square().mean()) / 4
    return total


def _picture(path: Path) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(path).resize((32, 32), Image.Resampling.LANCZOS))


def _unet(pipe: Any, family: str, noised: Any, time: Any, text: str) -> Any:
    encoded = pipe.encode_prompt(prompt=text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    added = None
    if family == "sdxl":
        added = {"text_embeds": encoded[2], "time_ids": torch.tensor([[32.0, 32.0, 0.0, 0.0, 32.0, 32.0]])}
    return pipe.unet(noised, time, encoder_hidden_states=encoded[0], added_cond_kwargs=added).sample


def _transformer(pipe: Any, family: str, noised: Any, s: float, text: str) -> Any:
    if family == "sd3":
        texts, _, pooled, _ = pipe.encode_prompt(text, None, None, do_classifier_free_guidance=False)
        time = torch.tensor([1000 * s], dtype=torch.float32)
        return pipe.transformer(noised, texts, pooled, time).sample
    texts, pooled, ids = pipe.encode_prompt(text, None)
    packed = torch.nn.functional.pixel_unshuffle(noised, 2).flatten(2).transpose(1, 2)
    side = noised.shape[2] // 2
    grid = torch.stack([torch.zeros(side, side), *torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij")], dim=-1)
    output = pipe.transformer(
        packed, texts, pooled, torch.tensor([s], dtype=torch.float32), img_ids=grid.reshape(-1, 3), txt_ids=ids
    ).sample
    return torch.nn.functional.pixel_shuffle(output.transpose(1, 2).unflatten(2, (side, side)), 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_its_formula_and_the_adapter_is_drawn_with(
    job: Make, tmp_path_factory: pytest.TempPathFactory, family: str
) -> None:
    task = job(family, out=family, steps=2)
    weights = written_once(tmp_path_factory, f"trained-{family}", FAMILIES[family])
    folder = finetune.train(task, SILENT)
    assert rows(folder)[0]["loss"] == pytest.approx(by_hand(family, weights, task), rel=1e-4)
    tensors = load_file(folder / lora.DIFFUSERS_WEIGHTS)
    prefix = "unet" if family in {"sd", "velocity", "sdxl"} else "transformer"
    assert all(name.startswith(f"{prefix}.") and value.abs().max() > 0 for name, value in tensors.items())
    assert not (folder / lora.WEIGHTS).exists() and not (folder / "state").exists()
    plain, tuned = draw(build(weights)), draw(build(weights, folder))
    assert not np.array_equal(plain, tuned)
    card = (folder / "README.md").read_text()
    assert "library_name: diffusers" in card and "(LoRA, diffusers)" in card
    assert "diffusers" in json.loads((folder / "provenance.json").read_text())["packages"]


class Killed(BaseException):
    """Not an Exception, as the signal of a user is not."""


def kill_at(step: int, steps: int) -> Recorder:
    def hook(name: str, done: int, total: int) -> None:
        if name == "training" and steps - total + done == step:  # a resumed training has fewer steps to go
            raise Killed

    return Recorder(hook)


def test_a_killed_training_resumes_bit_for_bit(job: Make) -> None:
    settings = {"dropout": 0.2, "retain": (0.5, ("stated",)), "steps": 5}
    whole = finetune.train(job(out="whole", **settings), SILENT)
    parts = job(out="parts", **settings)
    for step in (1, 3, 4):
        with pytest.raises(Killed):
            finetune.train(parts, kill_at(step, 5))
        assert not (parts.out / lora.DIFFUSERS_WEIGHTS).exists()
    finetune.train(parts, SILENT)
    for name in (lora.DIFFUSERS_WEIGHTS, "README.md"):
        assert (parts.out / name).read_bytes() == (whole / name).read_bytes()
    assert [r["loss"] for r in rows(parts.out)] == [r["loss"] for r in rows(whole)]
    assert any("retained" in r for r in rows(whole)) and "--retain 0.5:stated" in (whole / "README.md").read_text()


def test_parts_of_a_batch_are_the_batch(job: Make) -> None:
    """An example's noise and time follow from its position in the step, whatever part it is in."""
    one = rows(finetune.train(job(out="one"), SILENT))[0]
    four = rows(finetune.train(job(out="four", accumulation=4, checkpointing=True), SILENT))[0]
    for name in ("loss", "grad_norm"):
        assert four[name] == pytest.approx(one[name], rel=1e-4)


def test_training_lowers_its_loss_and_goes_on_from_an_adapter(job: Make) -> None:
    first = finetune.train(job(out="first", steps=24, learning_rate=2e-2), SILENT)
    losses = [r["loss"] for r in rows(first)]
    assert np.mean(losses[-8:]) < 0.96 * np.mean(losses[:8])
    on = finetune.train(job(out="on", parent=first, learning_rate=1e-30, rank=8), SILENT)
    before, after = (load_file(folder / lora.DIFFUSERS_WEIGHTS) for folder in (first, on))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], rtol=0, atol=1e-12) for name in before)


@pytest.mark.slow
def test_by_command(cli: Cli, tiny_sd: Path, balanced_manifest: Path, tmp_path: Path) -> None:
    card = card_of(tmp_path, tiny_sd)
    look = ("--eval-every", 1, "--eval-task", "occupations", "--eval-prompts", 1, "--eval-images", 2)
    same = ("--model", card, "--data", balanced_manifest, "--device", "cpu")
    found = cli("train", "sft", *same, *look, "--steps", 1, "--lr", 1e-2, "--batch", 2, "--out", "sft")
    assert found.code == 0, found.err
    assert rows(tmp_path / "sft")[1]["eval/images"] == 2
    run = ("run", "--model", card, "--task", "occupations", "-n", 1, "--limit-prompts", 1, "--scorers", "none")
    plain_flags = ("--no-sheets", "--device", "cpu", "--store", "store")
    runs = [
        cli(*run, *plain_flags, "--method", method, "--out", name)
        for method, name in (("none", "a"), ("lora:sft", "b"))
    ]
    assert [r.code for r in runs] == [0, 0], runs[1].err
    plain, tuned = (json.loads((tmp_path / name / "run.json").read_text()) for name in "ab")
    assert tuned["method"].startswith("lora:sft@") and plain["keys"]["images"] != tuned["keys"]["images"]
    for kind, sentence in (
        ("bpo", "tiny has no likelihood of image tokens, one after another"),
        ("distill", "tiny does not give whole distributions of image tokens"),
        ("i2t", "tiny answers no questions"),
    ):
        refused = cli("train", kind, *same, "--out", kind)
        assert refused.code == 2 and sentence in refused.err.replace("\n", " ")
    refused = cli("train", "sft", *same, "--retain", ".5:captions", "--out", "captions")
    assert refused.code == 2 and "tiny offers no TrainableAnswers" in refused.err.replace("\n", " ")
