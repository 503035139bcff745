"""Capability data: which examples it takes the place of, and what is learned from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairbench.cards import catalog
from fairbench.display.progress import SILENT
from fairbench.errors import CardError
from fairbench.networks import lora
from fairbench.synthesis import balanced
from fairbench.training import batches, capability, finetune
from fairbench.training.job import Job
from fairbench.training.objectives import retained, table
from fairbench.training.objectives.base import Objective, Part, Setup
from fairbench.training.presets import Settings
from tests.training.test_finetune import Killed, adapter, kill_at, rows

KINDS = tuple(capability.KINDS)


@pytest.fixture
def job(tiny_card: Path, balanced_manifest: Path, tmp_path: Path) -> Callable[..., Job]:
    def make(kind: str, out: str, retain: tuple[float, tuple[str, ...]], **fields: Any) -> Job:
        small = {"steps": 3, "batch": 8, "rank": 4, "alpha": 4.0, "dropout": 0.0, "learning_rate": 1e-3, "seed": 7}
        asked = Settings(kind, retain=retain, **(small | fields))  # type: ignore[arg-type]
        card, data = catalog.load_model(str(tiny_card)), balanced.read(balanced_manifest)
        return Job(asked, card, data, tmp_path / out, device="cpu", save_every=2, log_every=1)

    return make


def built(task: Job) -> tuple[Any, Objective]:
    model = task.model()
    net = lora.new(model.network(), task.card.card.lora_targets or "", 4, 4.0, 0.0, 0)
    return model, table.built(Setup(task, model, net, finetune._accelerator(task), SILENT))


@torch.no_grad()
def test_each_example_has_the_loss_of_its_kind(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """All kinds at once: every retained example's tokens and words are scored here one by one, on the bare model."""
    task = job("bpo", "out", (0.7, KINDS))
    model, objective = built(task)
    part = Part(task.order.examples(4, 8), 4, np.arange(8))
    seen: list[tuple[Any, list[int]]] = []
    for source in (batches.Images, batches.Answers):
        plain = source.mean_log_probs

        def watched(self: Any, module: Any, numbers: Any, plain: Any = plain) -> Any:
            seen.append((self, numbers.tolist()))
            return plain(self, module, numbers)

        monkeypatch.setattr(source, "mean_log_probs", watched)
    loss, figures = objective.loss(objective.module, part)
    (bpo, own), *retained = seen
    assert len(own) % len(task.data.groups) == 0
    assert len(own) // len(task.data.groups) + sum(len(numbers) for _, numbers in retained) == 8
    assert len({type(source) for source, _ in retained}) == 2
    expected = []
    for source, numbers in retained:
        for i in numbers:
            if isinstance(source, batches.Images):
                tokens = source._tokens[[i % len(source._tokens)]]
                inputs = model.token_inputs([source._prompts[i]], tokens)
                expected.append(-float(model.token_scorer()(*inputs).mean()))
            else:
                e = source._exchanges[i]
                inputs, (length,) = model.answer_inputs([e.question], [e.answer], [batches.read(e.image)])
                cut = length > capability.ANSWER_TOKENS  # the answer was cut: no end of text is learned
                expected.append(-float(model.answer_scorer()(*inputs)[0, -length:][: length - cut].mean()))
    np.testing.assert_allclose(figures["retained"].numpy(), expected, rtol=1e-4, atol=1e-5)
    main = objective._objective.loss(bpo.module, part.only(np.flatnonzero(objective._kinds(part)[0] < 0).tolist()))[0]  # type: ignore[attr-defined]
    share = len(own) // len(task.data.groups) / 8
    assert float(loss) == pytest.approx(float(main) * share + np.sum(expected) / 8, rel=1e-4)


def test_what_is_retained(job: Callable[..., Job]) -> None:
    """Stated prompts state a group; captions are the frozen model's; general prompts name nobody."""
    task = job("sft", "out", (0.5, KINDS))
    _, objective = built(task)
    stated, captions, questions, general = objective._sources  # type: ignore[attr-defined]
    assert stated._prompts == [row.source_prompt for row in task.data.rows]
    first = task.data.rows[0]
    (answer,) = task.model().answer(["Describe this image."], [batches.read(first.image)], limit=48)  # type: ignore[attr-defined]
    assert captions._exchanges[0] == batches.Exchange(first.image, "Describe this image.", answer)
    assert {e.question for e in questions._exchanges} == set(capability.QUESTIONS)
    assert set(general._prompts) == set(capability.general_prompts())
    assert len(np.unique(general._tokens, axis=0)) > len(general._tokens) / 2, "equal prompts have images of their own"


@pytest.mark.parametrize("kind", ["sft", "bpo", "distill", "i2t"])
def test_the_share_is_that_of_the_examples(job: Callable[..., Job], kind: str) -> None:
    task = job(kind, "out", (0.3, ("stated",)), batch=64)
    _, objective = built(task)
    counts = [
        (objective._kinds(Part(task.order.examples(s, 64), s, np.arange(64)))[0] == 0).sum()  # type: ignore[attr-defined]
        for s in range(40)
    ]
    assert abs(np.mean(counts) / 64 - 0.3) < 4 * np.sqrt(0.21 / 2560)
    whole = objective._kinds(Part(task.order.examples(1, 64), 1, np.arange(64)))[0]  # type: ignore[attr-defined]
    half = objective._kinds(Part(task.order.examples(1, 64)[32:], 1, np.arange(32, 64)))[0]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(whole[32:], half)


def test_a_stopped_training_goes_on_bit_for_bit(job: Callable[..., Job]) -> None:
    whole = finetune.train(job("distill", "whole", (0.6, KINDS)), SILENT)
    parts = job("distill", "parts", (0.6, KINDS))
    with pytest.raises(Killed):
        finetune.train(parts, kill_at(2, steps=3))
    finetune.train(parts, SILENT)
    assert adapter(parts.out) == adapter(whole)
    assert [r["loss"] for r in rows(parts.out)] == [r["loss"] for r in rows(whole)]
    assert "--retain 0.6:stated+captions+questions+general" in (whole / "README.md").read_text()
    assert not (whole / "state").exists()
    with pytest.raises(Exception, match="retain"):
        finetune.train(job("distill", "parts", (0.6, ("stated",))), SILENT)


@torch.no_grad()
def test_general_images_are_all_of_them(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the set: more rows than images, or fewer."""
    monkeypatch.setattr(capability, "general_prompts", lambda: ["a lake", "a bowl"])
    monkeypatch.setattr(retained, "general_prompts", lambda: ["a lake", "a bowl"])
    _, objective = built(job("sft", "out", (1.0, ("general",)), batch=64))
    seen: set[int] = set()
    source = objective._sources[0]  # type: ignore[attr-defined]
    plain = source.mean_log_probs
    monkeypatch.setattr(source, "mean_log_probs", lambda m, numbers: seen.update(numbers.tolist()) or plain(m, numbers))
    order = job("sft", "out", (1.0, ("general",))).order
    objective.loss(objective.module, Part(order.examples(0, 64), 0, np.arange(64)))
    assert seen == set(range(8))


@torch.no_grad()
def test_a_cut_answer_has_no_end(job: Callable[..., Job]) -> None:
    """An answer of as many tokens as were asked for was cut: its end-of-text token is not learned."""
    task = job("sft", "out", (0.5, ("captions",)))
    model, _ = built(task)
    exchange = batches.Exchange(task.data.rows[0].image, "Who?", "a b c d")
    inputs, (length,) = model.answer_inputs([exchange.question], [exchange.answer], [batches.read(exchange.image)])
    words = model.answer_scorer()(*inputs)[0, -length:]
    for cut_at, expected in ((length - 1, words[:-1].mean()), (length, words.mean()), (None, words.mean())):
        source = batches.Answers(model, [exchange], cut_at=cut_at)
        torch.testing.assert_close(source.mean_log_probs(source.module, np.array([0]))[0], expected)


def test_what_a_model_does_not_offer_is_one_sentence(job: Callable[..., Job], emu3_card: Path) -> None:
    task = job("sft", "out", (0.5, ("captions",)))
    other = Job(task.settings, catalog.load_model(str(emu3_card)), task.data, task.out, device="cpu")
    with pytest.raises(CardError, match="offers no TrainableAnswers, which --retain with captions needs"):
        finetune.train(other, SILENT)
