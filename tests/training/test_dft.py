"""Direct fine-tuning: gradients and losses of a tiny model against independent computations, and the whole command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from fairbench.cards import catalog
from fairbench.display.progress import SILENT
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.networks import lora, openclip
from fairbench.networks.openclip import OpenClipParams
from fairbench.synthesis import balanced
from fairbench.training import assignment, finetune
from fairbench.training.job import Job
from fairbench.training.objectives.base import Part, Setup
from fairbench.training.objectives.dft import Chain, Dft
from fairbench.training.presets import settings
from fairbench.types import BuildContext
from tests.builders.cli import Cli
from tests.builders.differentiable import save_labeller, save_tiny_dino
from tests.builders.diffusion_families import card_of
from tests.builders.progress import Recorder

SMALL: dict[str, Any] = {
    "steps": 1,
    "learning_rate": 1e-2,
    "rank": 4,
    "alpha": 4.0,
    "seed": 7,
    "images": 5,
    "denoising": 3,
    "uncertainty": 0.5,
}
Make = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path, tiny_sd: Path, tiny_openclip: Path, balanced_manifest: Path) -> Make:
    labeller = save_labeller(tmp_path / "labeller", crop={"type": "box", "padding": 0.1})
    card = card_of(tmp_path, tiny_sd, labeller=str(labeller), scorers={"clip-score": {"path": str(tiny_openclip)}})

    def make(out: str = "out", **options: Any) -> Job:
        asked = settings("dft", None, SMALL | options)
        data = balanced.read(balanced_manifest)
        return Job(asked, catalog.load_model(str(card)), data, tmp_path / out, device="cpu", save_every=2, log_every=1)

    return make


def built(task: Job, std: float = 0.3) -> tuple[Dft, Any]:
    """Return the objective of a model whose adapter already does something, and peft's model around its network."""
    model = task.model()
    adapter = lora.new(model.network(), task.card.card.lora_targets, 4, 4.0, 0.0, 1)
    with torch.no_grad():
        for number, tensor in enumerate(lora.tensors_of(adapter).values()):
            tensor.normal_(std=std, generator=torch.Generator().manual_seed(number))
    return Dft(Setup(task, model, adapter, Accelerator(cpu=True), SILENT)), adapter


def gradients(adapter: Any) -> list[torch.Tensor]:
    found = [p.grad.clone() for p in adapter.parameters() if p.requires_grad]
    adapter.zero_grad()
    return found


def test_the_gradient_through_a_real_networks_sampling(job: Make) -> None:
    """Against vector-Jacobian products of single guided predictions; and the same where activations are recomputed."""
    objective, adapter = built(job())
    denoising = objective._denoising
    generator = torch.Generator().manual_seed(0)
    noise, weight = (torch.randn(2, *denoising.latent_shape, generator=generator) for _ in range(2))
    stated, blank = denoising.conditions(["a nurse", "a cook"]), denoising.blank_conditions(2)
    found = []
    for recompute in (False, True):
        final = Chain(denoising, 3, recompute=recompute)(noise, *stated, *blank)
        (final * weight).sum().backward()
        found.append(gradients(adapter))
    parameters = [p for p in adapter.parameters() if p.requires_grad]
    steps, latents, inputs = denoising.steps(3), noise, []

    def guided(at: torch.Tensor, time: float) -> torch.Tensor:
        times = torch.full((2,), time)
        without = denoising.module(at, times, *blank)
        return without + 2.0 * (denoising.module(at, times, *stated) - without)

    with torch.no_grad():
        for step in steps:
            inputs.append(latents)
            latents = step.kept * latents + step.moved * guided(latents, step.time)
    torch.testing.assert_close(final.detach(), latents, rtol=1e-4, atol=1e-5)
    last, middle, first = steps[2], steps[1], steps[0]
    paths = [first.moved * middle.kept * last.kept, middle.moved * last.kept, last.moved]
    assert max(paths) < 0
    length = float(np.exp(np.mean(np.log(np.abs(paths)))))
    expected = [torch.zeros_like(p) for p in parameters]
    for step, start in zip(steps, inputs, strict=True):
        for total, part in zip(
            expected, torch.autograd.grad(guided(start, step.time), parameters, weight), strict=True
        ):
            total -= length * part
    assert max(float(e.abs().max()) for e in expected) > 1e-3
    for of_chain in found:
        for one, other in zip(of_chain, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-5)


def test_the_loss_is_its_formula(job: Make, tmp_path: Path, tiny_openclip: Path) -> None:
    """From pixels of 8 bits and the labeller's own reading, in NumPy: what differs is rounding."""
    task = job()
    objective, adapter = built(task)
    row = task.order.examples(0, 1)[0]
    loss, figures = objective.loss(objective.module, Part(row[None], 0, np.array([0])))

    rng = np.random.default_rng([7, 0, 0, 6])
    noise = torch.from_numpy(rng.standard_normal((5, *objective._denoising.latent_shape), dtype=np.float32))
    text = task.data.rows[row[0]].prompt
    with torch.no_grad():
        drawn = _pixels(objective, noise, text)
        with lora.without(adapter):
            original = _pixels(objective, noise, text)
    labeller = Labeller(catalog.load_labeller(task.card.card.labeller))
    read, before = (
        [labeller.classify([labeller.cut(image, face) for (_, face), image in zip(labeller.found(p), p, strict=True)])]
        for p in (drawn, original)
    )
    names = list(task.data.attributes)
    probabilities, first = ([reading[0][name].astype(float) for name in names] for reading in (read, before))
    groups = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    shares = assignment.expected(assignment.costs(probabilities, groups), np.full(4, 0.25), rng)
    targets = assignment.targets(shares, groups, 0.5)
    fair = [-sum(np.log(p[i, t]) for p, t in zip(probabilities, targets[i], strict=True) if t >= 0) for i in range(5)]
    kept = [all(t == p[i].argmax() for p, t in zip(first, targets[i], strict=True)) for i in range(5)]
    clip = openclip.load(OpenClipParams.model_validate({"path": str(tiny_openclip)}), BuildContext())
    a, b = (clip.image_features(images, 5).astype(float) for images in (drawn, original))
    likeness = 8.0 * np.where(kept, 1.0, 0.2) * (1 - (a * b).sum(axis=1))
    assert 0 < sum(kept) < 5 and (targets >= 0).any()
    assert loss.item() == pytest.approx(np.mean(fair + likeness), rel=0.02)
    np.testing.assert_allclose(figures["preserved"].numpy(), likeness, rtol=0.05, atol=5e-3)
    certain = (targets >= 0).any(axis=1)
    np.testing.assert_allclose(figures["fair"].numpy(), np.array(fair)[certain], rtol=0.02)
    assert figures["faces"].tolist() == [1.0] * 5 and figures["certain"].tolist() == certain.astype(float).tolist()


def _pixels(objective: Dft, noise: torch.Tensor, text: str) -> list[np.ndarray]:
    denoising = objective._denoising
    latents = objective.module(
        noise, *denoising.conditions([text] * len(noise)), *denoising.blank_conditions(len(noise))
    )
    images = denoising.decode(latents).permute(0, 2, 3, 1).numpy()
    return list((images * 255).round().astype(np.uint8))


@pytest.mark.long
def test_recomputing_and_parts_change_no_gradient(job: Make, tmp_path: Path) -> None:
    small = {"dino": str(save_tiny_dino(tmp_path / "dino")), "images": 3, "denoising": 2}
    plain, adapter = built(job(**small))
    saving, other = built(job(**small, checkpointing=True))
    rows = job(**small).order.examples(0, 2)
    for objective, of in ((plain, adapter), (saving, other)):
        part = Part(rows, 0, np.arange(2))
        objective.loss(objective.module, part)[0].backward()
        assert len(objective._embeds) == 2 and of is objective._setup.adapter
    whole, saved = gradients(adapter), gradients(other)
    for position in range(2):
        part = Part(rows[position : position + 1], 0, np.array([position]))
        (plain.loss(plain.module, part)[0] / 2).backward()
    apart = gradients(adapter)
    assert max(float(g.abs().max()) for g in whole) > 1e-4
    for one, two, three in zip(whole, saved, apart, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(one, three, rtol=1e-3, atol=1e-6)


class Killed(BaseException):
    """Not an Exception, as the signal of a user is not."""


@pytest.mark.long
def test_a_killed_training_resumes_bit_for_bit(job: Make) -> None:
    def kill(name: str, done: int, total: int) -> None:
        if name == "training" and 3 - total + done == 2:
            raise Killed

    small = {"steps": 3, "images": 3, "denoising": 2}
    whole = finetune.train(job("whole", **small), SILENT)
    parts = job("parts", **small)
    with pytest.raises(Killed):
        finetune.train(parts, Recorder(kill))
    finetune.train(parts, SILENT)
    for name in (lora.DIFFUSERS_WEIGHTS, "README.md"):
        assert (parts.out / name).read_bytes() == (whole / name).read_bytes()
    logged = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "fair", "preserved", "faces", "certain"} <= logged[-1].keys()
    assert logged[0]["preserved"] == pytest.approx(0, abs=1e-5)  # the adapter changes nothing yet
    assert "fairbench train dft" in (whole / "README.md").read_text()
    identity = json.loads((whole / "provenance.json").read_text())["identity"]
    assert len(identity["labeller"]) == 12 and identity["dino"] is None and "folder" in identity["clip"]


def test_without_a_face_images_are_only_preserved(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    task = job()
    objective, _ = built(task)
    monkeypatch.setattr(objective._labeller, "detect", lambda images: [[] for _ in images])
    rows = task.order.examples(0, 1)
    loss, figures = objective.loss(objective.module, Part(rows, 0, np.array([0])))
    assert figures["fair"].numel() == 0 and figures["faces"].sum() == figures["certain"].sum() == 0
    assert loss.item() == pytest.approx(figures["preserved"].mean().item()) and loss.item() > 0


@pytest.mark.slow
def test_by_command(cli: Cli, job: Make, balanced_manifest: Path, tmp_path: Path, tiny_card: Path) -> None:
    card = job().card.path
    same = ("--model", card, "--data", balanced_manifest, "--device", "cpu")
    small = ("--steps", 1, "--images", 3, "--denoising", 2, "--lr", 1e-2, "--target", "female=.6")
    found = cli("train", "dft", *same, *small, "--out", "dft")
    assert found.code == 0, found.err
    flags = ("-n", 1, "--limit-prompts", 1, "--scorers", "none", "--no-sheets", "--device", "cpu", "--store", "store")
    run = cli("run", "--model", card, "--task", "occupations", *flags, "--method", "lora:dft", "--out", "run")
    assert run.code == 0, run.err
    for words, sentence in (
        (
            ("dft", *same, "--labeller", "phantom"),
            "no gradient flows through the classifier onnx; name a labeller whose",
        ),
        (("dft", *same, "--dropout", ".1"), "train dft learns from images that it draws without dropout"),
        (("dft", *same, "--kl", ".1"), "--kl belongs to train grpo: leave it out of train dft."),
        (("sft", *same, "--images", "4"), "--images belongs to train grpo and dft: leave it out of train sft."),
        (("dft", *same[2:], "--model", tiny_card), "is no diffusion model that can be trained here"),
        (("dft", *same, "--dino", "nowhere"), "nowhere"),
    ):
        refused = cli("train", *words, "--out", "refused")
        assert refused.code == 2 and sentence in refused.err.replace("\n", " "), refused.err
        assert not Path("refused").exists() and "Traceback" not in refused.err


def test_a_labeller_with_other_labels_is_refused(job: Make, tmp_path: Path) -> None:
    task = job()
    with pytest.raises(FairbenchError, match=r"has race4 with the labels WMELH, Black, and the labeller random"):
        path = Path(task.card.card.labeller)
        path.write_text(path.read_text().replace("- WMELH\n    - Black", "- Black\n    - WMELH"))
        Dft.check(task)
