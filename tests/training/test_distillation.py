"""Distillation: both forms have one gradient in expectation; the student nears what the teacher draws when told."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fairbench.cards import catalog
from fairbench.display.progress import SILENT
from fairbench.errors import CardError
from fairbench.networks import lora
from fairbench.synthesis import balanced
from fairbench.training import finetune
from fairbench.training.job import Job
from fairbench.training.objectives import distill as distillation
from fairbench.training.presets import Settings
from fairbench.training.records import FOLLOWING
from tests.training.test_finetune import Killed, adapter, kill_at, rows

K, N, V = 3, 3, 2
TARGET = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
IMAGES = torch.tensor(list(itertools.product(range(V), repeat=N)))
"""Every image of N tokens, (V^N, N)."""


def tables(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    """Logits of a tabular model that has one row for every beginning: (*shape, sum of V^t, V)."""
    return torch.from_numpy(generator.normal(size=(*shape, sum(V**t for t in range(N)), V)))


def of_images(table: torch.Tensor) -> torch.Tensor:
    """Logits of every image's tokens, (..., V^N, N, V)."""
    starts = [sum(V**s for s in range(t)) for t in range(N)]
    codes = [[int("0" + "".join(map(str, image[:t])), V) for t in range(N)] for image in IMAGES.tolist()]
    row = torch.tensor(codes) + torch.tensor(starts)
    return table[..., row, :]


def log_p(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of whole images, (..., V^N)."""
    picked = torch.log_softmax(logits, -1).gather(-1, IMAGES.expand(*logits.shape[:-1])[..., None])
    return picked[..., 0].sum(-1)


@pytest.fixture
def teachers() -> torch.Tensor:
    """Guided log-probabilities of K groups at guidance 3, (K, images, N, V)."""
    generator = np.random.default_rng(0)
    stated, blank = of_images(tables(generator, K)), of_images(tables(generator))
    return distillation.guided(stated, blank.expand_as(stated), 3.0, 1.0)


def mixed(teachers: torch.Tensor) -> torch.Tensor:
    """The probability of every image under the mixture, by its definition."""
    return (TARGET[:, None] * log_p(teachers).exp()).sum(0)


def test_the_mixture_is_that_of_whole_images(teachers: torch.Tensor) -> None:
    found = distillation.mixture(teachers, IMAGES, TARGET.expand(len(IMAGES), -1))
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(len(IMAGES), N, dtype=torch.float64))
    torch.testing.assert_close(log_p(found).exp(), mixed(teachers))


def test_both_forms_have_the_same_gradient_in_expectation(teachers: torch.Tensor) -> None:
    """By enumeration of every group and image; the exact form alone is 0 at the optimum."""
    table = tables(np.random.default_rng(1)).requires_grad_()
    student = torch.log_softmax(of_images(table), -1)
    plain = sum(
        share * (log_p(of).exp() * distillation.divergence(of, student).mean(1)).sum()
        for share, of in zip(TARGET, teachers, strict=True)
    )
    mixture = distillation.mixture(teachers, IMAGES, TARGET.expand(len(IMAGES), -1))
    whole = (mixed(teachers) * distillation.divergence(mixture, student).mean(1)).sum()
    gradients = [torch.autograd.grad(loss, table, retain_graph=True)[0] for loss in (plain, whole)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 1e-3
    # The chain rule of KL: what is left of whole images is N times the mean over tokens.
    images = (mixed(teachers) * (mixed(teachers).log() - log_p(student))).sum()
    torch.testing.assert_close(whole * N, images)
    assert float(distillation.divergence(mixture, mixture).abs().max()) == 0
    assert float((log_p(teachers[0]).exp() * distillation.divergence(teachers[0], mixture).mean(1)).sum()) > 0.01


def test_gradients_against_finite_differences(teachers: torch.Tensor) -> None:
    blank = of_images(tables(np.random.default_rng(2)))

    def loss(table: torch.Tensor) -> torch.Tensor:
        return distillation.divergence(teachers[0], distillation.guided(of_images(table), blank, 3.0, 0.8)).mean()

    assert torch.autograd.gradcheck(loss, (tables(np.random.default_rng(3)).requires_grad_(),))


def test_guidance_is_that_of_drawing() -> None:
    stated, blank = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    expected = torch.softmax(torch.tensor([0.5 + 3 * 0.5, 0.5 - 3 * 0.5]) / 2, 0)
    torch.testing.assert_close(distillation.guided(stated, blank, 3.0, 2.0).exp(), expected)


@pytest.fixture
def job(tiny_card: Path, balanced_manifest: Path, tmp_path: Path) -> Callable[..., Job]:
    card = yaml.safe_load(tiny_card.read_text())
    card["sampling"] = {"guidance": 3.0}
    card["weights"] = {"path": str(tiny_card.parent / "janus")}
    path = tmp_path / "guided.yaml"
    path.write_text(yaml.safe_dump(card))

    def make(out: str, **fields: Any) -> Job:
        asked = Settings(
            "distill", **({"steps": 3, "batch": 4, "rank": 4, "alpha": 4.0, "learning_rate": 1e-3} | fields)
        )
        data = balanced.read(balanced_manifest)
        return Job(asked, catalog.load_model(str(path)), data, tmp_path / out, device="cpu", save_every=2, log_every=1)

    return make


def test_a_stopped_distillation_goes_on_bit_for_bit(job: Callable[..., Job]) -> None:
    whole = finetune.train(job("whole", exact=True), SILENT)
    parts = job("parts", exact=True)
    with pytest.raises(Killed):
        finetune.train(parts, kill_at(2, steps=3))
    finetune.train(parts, SILENT)
    assert adapter(parts.out) == adapter(whole)
    assert (parts.out / FOLLOWING).read_bytes() == (whole / FOLLOWING).read_bytes()
    assert [r["loss"] for r in rows(parts.out)] == [r["loss"] for r in rows(whole)]
    readme = (whole / "README.md").read_text()
    assert "--exact" in readme
    shown = json.loads((whole / FOLLOWING).read_text())["groups"]
    assert [f"| {' '.join(row['group'])} | {row['shown']} of {row['images']} |" in readme for row in shown] == [
        True
    ] * 4
    with pytest.raises(Exception, match="exact True there, False here"):
        finetune.train(job("parts"), SILENT)


def test_the_loss_is_that_of_the_models_own_distributions(job: Callable[..., Job]) -> None:
    """At step 0 the student is the teacher under the neutral prompt: both computed here, one image at a time."""
    folder = finetune.train(job("out", steps=1, dropout=0.0), SILENT)
    task = job("out", steps=1, dropout=0.0)
    model = task.model()
    scorer = model.token_logits()
    examples = task.order.examples(0, 4).flatten()
    lora.new(model.network(), task.card.card.lora_targets, 4, 4.0, 0.0, 0)
    tokens = distillation.drawn(model, [row.source_prompt for row in task.data.rows], 0, 8, task.out / "t.npy", SILENT)
    expected = []
    for i in examples:
        row, image = task.data.rows[i], tokens[i : i + 1]
        with torch.no_grad():
            blank = scorer(*model.blank_inputs([row.prompt], image))
            teacher, student = (
                torch.softmax((blank + 3 * (scorer(*model.token_inputs([text], image)) - blank)).double(), -1)
                for text in (row.source_prompt, row.prompt)
            )
        expected.append(float((teacher * (teacher / student).log()).sum(-1).mean()))
    assert rows(folder)[0]["loss"] == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("exact", [False, True])
def test_distillation_lowers_its_loss(job: Callable[..., Job], exact: bool) -> None:
    found = rows(finetune.train(job("out", steps=16, learning_rate=2e-2, dropout=0.0, batch=16, exact=exact), SILENT))
    assert found[-1]["loss"] < (0.5 if exact else 0.9) * found[0]["loss"]


def test_what_distillation_cannot_use_is_one_sentence(job: Callable[..., Job], emu3_card: Path) -> None:
    task = job("out")
    nameless = [dataclasses.replace(row, source_prompt="") for row in task.data.rows]
    with pytest.raises(CardError, match="the source_prompt is empty: fill that column in"):
        distillation.Distill.check(dataclasses.replace(task, data=dataclasses.replace(task.data, rows=nameless)))
    with pytest.raises(CardError, match="--exact needs one source_prompt for each prompt and group"):
        distillation.Distill.check(dataclasses.replace(job("other", exact=True), data=_several(task.data)))
    other = dataclasses.replace(task, card=catalog.load_model(str(emu3_card)))
    with pytest.raises(CardError, match="does not give whole distributions of image tokens"):
        finetune.train(other, SILENT)


def _several(data: balanced.Balanced) -> balanced.Balanced:
    texts = [dataclasses.replace(row, source_prompt=f"{row.source_prompt} {i}") for i, row in enumerate(data.rows)]
    return dataclasses.replace(data, rows=texts)


def test_hard_targets_are_the_drawn_tokens(job: Callable[..., Job]) -> None:
    """The control's loss: by the model's own logits at guidance 3, of just the teacher's tokens."""
    folder = finetune.train(job("out", steps=1, dropout=0.0, hard=True), SILENT)
    task = job("again", steps=1, dropout=0.0, hard=True)
    model = task.model()
    scorer = model.token_logits()
    tokens = distillation.drawn(model, [row.source_prompt for row in task.data.rows], 0, 8, task.out / "t.npy", SILENT)
    expected = []
    for i in task.order.examples(0, 4).flatten():
        prompt, image = task.data.rows[i].prompt, tokens[i : i + 1]
        with torch.no_grad():
            blank = scorer(*model.blank_inputs([prompt], image))
            student = torch.log_softmax(blank + 3 * (scorer(*model.token_inputs([prompt], image)) - blank), -1)[0]
        expected.append(-float(student[torch.arange(image.shape[1]), torch.from_numpy(image[0])].mean()))
    assert rows(folder)[0]["loss"] == pytest.approx(np.mean(expected), rel=1e-4)
