"""Reinforcement: the reward is unbiased, a tabular policy reaches its target, the loss is that of what was drawn."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fairbench.cards import catalog
from fairbench.display.progress import SILENT
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import NOT_LABELLED, Labeller
from fairbench.networks import lora
from fairbench.synthesis import balanced
from fairbench.training import finetune
from fairbench.training.job import Job
from fairbench.training.objectives import distill, grpo, table
from fairbench.training.objectives.base import Part, Setup
from fairbench.training.presets import Settings
from tests.training.test_finetune import Killed, adapter, kill_at, rows


def test_rewards_by_hand() -> None:
    groups = np.array([[0, 0, 1, NOT_LABELLED]])
    found = grpo.balance(groups, np.array([[0.3, 0.2, 0.5]]))
    np.testing.assert_allclose(found, [[0.3 - 1 / 3, 0.3 - 1 / 3, 0.2, 0]])
    np.testing.assert_allclose(grpo.against_others(groups == 0), [[2 / 3, 2 / 3, -2 / 3, -2 / 3]])


def test_the_log_ratio_by_hand() -> None:
    """Two attributes of 2 and 3 labels; shares are over images that show a group."""
    labels = np.array(list(itertools.product(range(2), range(3))))
    groups = np.array([[0, 0, 5, NOT_LABELLED]])  # (0, 0), (0, 0), (1, 2)
    first = np.array([np.log(0.5 / (2 / 3)), np.log(0.5 / (2 / 3)), np.log(0.5 / (1 / 3))])
    second = np.array([np.log((1 / 3) / (2 / 3)), np.log((1 / 3) / (2 / 3)), np.log((1 / 3) / (1 / 3))])
    expected = (first - first.mean()) + (second - second.mean())
    np.testing.assert_allclose(grpo.log_ratio(groups, labels), [[*expected, 0]])
    rare = np.array([[1] + [0] * 31])
    assert grpo.log_ratio(rare, np.array([[0], [1]]))[0, 0] == grpo.CLIP


@pytest.mark.parametrize("images", [2, 3, 5])
def test_the_gradient_is_unbiased_at_any_number_of_images(images: int) -> None:
    """By enumeration of all draws of a policy with a fourth outcome that is no group."""
    logits = torch.tensor([1.0, -0.5, 0.3, -1.0], dtype=torch.float64, requires_grad=True)
    target = np.array([[0.2, 0.3, 0.5]])
    p = torch.softmax(logits, 0)
    exact = torch.autograd.grad(-0.5 * ((p[:3] - torch.from_numpy(target[0])) ** 2).sum(), logits, retain_graph=True)[0]
    expected = torch.zeros(4, dtype=torch.float64)
    for draw in itertools.product(range(4), repeat=images):
        groups = np.array([[k if k < 3 else NOT_LABELLED for k in draw]])
        rewards = torch.from_numpy(grpo.balance(groups, target)[0])
        surrogate = (rewards * torch.log(p[list(draw)])).mean()
        probability = float(torch.prod(p[list(draw)]).detach())
        expected += probability * torch.autograd.grad(surrogate, logits, retain_graph=True)[0]
    torch.testing.assert_close(expected, exact)


@pytest.mark.parametrize("target", [(0.5, 0.5), (0.9, 0.1), (0.6, 0.13, 0.13, 0.14)])
def test_a_tabular_policy_reaches_its_target(target: tuple[float, ...]) -> None:
    """From .97 of one group, by the mean of the last quarter of its path; 8 images a step."""
    size = len(target)
    start = np.log([0.97] + [0.03 / (size - 1)] * (size - 1))
    logits = torch.tensor(start, requires_grad=True)
    rng, pi, steps = np.random.default_rng(5), np.array([target]), 6000
    path = []
    for step in range(steps):
        p = torch.softmax(logits, 0)
        path.append(p.detach().numpy().copy())
        draws = rng.choice(size, p=path[-1], size=(1, 8))
        rewards = torch.from_numpy(grpo.balance(draws, pi))
        (gradient,) = torch.autograd.grad(-(rewards * torch.log(p[torch.from_numpy(draws)])).mean(), logits)
        with torch.no_grad():
            logits -= 2.0 * (1 - step / steps) * gradient
    np.testing.assert_allclose(np.mean(path[-steps // 4 :], axis=0), target, atol=0.01)


@pytest.fixture
def job(tiny_card: Path, balanced_manifest: Path, tmp_path: Path) -> Callable[..., Job]:
    def make(out: str, guidance: float = 3.0, **fields: Any) -> Job:
        card = yaml.safe_load(tiny_card.read_text())
        card["sampling"] = {"guidance": guidance}
        card["weights"] = {"path": str(tiny_card.parent / "janus")}
        path = tmp_path / f"guided-{guidance}.yaml"
        path.write_text(yaml.safe_dump(card))
        small: dict[str, Any] = {"steps": 3, "batch": 2, "rank": 4, "alpha": 4.0, "dropout": 0.0, "learning_rate": 1e-3}
        asked = Settings("grpo", **(small | {"images": 3} | fields))
        data = balanced.read(balanced_manifest)
        return Job(asked, catalog.load_model(str(path)), data, tmp_path / out, device="cpu", save_every=2, log_every=1)

    return make


def test_a_stopped_training_goes_on_bit_for_bit(job: Callable[..., Job]) -> None:
    fields = {"follow": 0.5, "retain": (0.4, ("stated",)), "target": "female=.7"}
    whole = finetune.train(job("whole", **fields), SILENT)
    parts = job("parts", **fields)
    with pytest.raises(Killed):
        finetune.train(parts, kill_at(2, steps=3))
    finetune.train(parts, SILENT)
    assert adapter(parts.out) == adapter(whole)
    assert (parts.out / "README.md").read_bytes() == (whole / "README.md").read_bytes()
    assert [r["loss"] for r in rows(parts.out)] == [r["loss"] for r in rows(whole)]
    words = (whole / "README.md").read_text()
    assert "--target female=.7 --retain 0.4:stated" in words
    assert "--follow 0.5" in words


class _Labels(Labeller):
    """Labels by the parity of an image's first pixel: what random weights draw has no face."""

    def read(self, images: Any, **_: Any) -> Any:
        from fairbench.labelling.labeller import Reading

        codes = {
            a: np.array([int(i.astype(int).sum()) % self.declared.size(a) for i in images]) for a in self.base.labels
        }
        return Reading(np.arange(len(images)), self.with_derived(codes))


def test_the_loss_is_that_of_what_was_drawn(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """At guidance 3, with an adapter that changes logits: each row computed here on networks of its own."""
    monkeypatch.setattr(grpo, "Labeller", _Labels)
    task = job("out", images=4, kl=0.3, face=0.0)
    model, base = task.model(), task.model()
    net = lora.new(model.network(), task.card.card.lora_targets, 4, 4.0, 0.0, 0)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    accelerator = finetune._accelerator(task)
    objective = table.built(Setup(task, model, net, accelerator, SILENT))
    drawn: list[Any] = []
    plain = model.tokens
    monkeypatch.setattr(model, "tokens", lambda requests: drawn.append((requests, plain(requests))) or drawn[-1][1])
    part = Part(task.order.examples(0, 2), 0, np.arange(2))
    loss, figures = objective.loss(objective.module, part)

    (requests, tokens), *_ = drawn
    policy, frozen = model.token_logits(), base.token_logits()
    log_probs, divergences = [], []
    for request, image in zip(requests, tokens, strict=True):
        row = image[None]
        with torch.no_grad():
            blank = frozen(*base.blank_inputs([request.text], row)).double()
            stated = policy(*model.token_inputs([request.text], row)).double()
            plain_logits = frozen(*base.token_inputs([request.text], row)).double()
        p = torch.softmax(blank + 3 * (stated - blank), -1)[0]
        q = torch.softmax(blank + 3 * (plain_logits - blank), -1)[0]
        log_probs.append(p[torch.arange(len(image)), torch.from_numpy(image)].log().mean())
        divergences.append((p * (p / q).log()).sum(-1).mean())
        # The image was drawn from just this distribution: the most probable token under its own noise.
        from fairbench.networks.sampling import gumbel

        noise = torch.from_numpy(np.concatenate(list(gumbel([request.seed], len(image), p.shape[-1])))[:, 0]).double()
        np.testing.assert_array_equal((p.log() + noise).argmax(-1).numpy(), image)
    reader = _Labels(catalog.load_labeller(task.card.card.labeller))

    groups = distill.shown_groups(model, reader, task.data, tokens).reshape(2, 4)
    assert len(set(groups.flatten().tolist())) > 1, "equal groups could not tell rewards apart"
    rewards = grpo.balance(groups, np.full((2, len(task.data.groups)), 1 / len(task.data.groups))).flatten()
    expected = -np.mean(rewards * np.array(log_probs)) + 0.3 * np.mean(divergences)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert float(figures["kl"].mean()) == pytest.approx(np.mean(divergences), rel=1e-4)
    assert np.mean(divergences) > 1e-3


def test_a_run_wears_the_adapter_as_it_was_trained(job: Callable[..., Job], tmp_path: Path) -> None:
    """Off in the unconditional rows; an adapter of sft is in both."""
    task = job("out", learning_rate=0.3, steps=2, kl=3.0, face=1.0, follow=0.5)
    folder = finetune.train(task, SILENT)
    assert lora.is_guided(folder)
    plain = task.card.card.model_copy(update={"lora": str(folder)})
    from fairbench import registry
    from fairbench.types import BuildContext, ImageRequest

    kind = registry.resolve("adapters", plain.adapter)
    model = kind(plain, kind.Params(guidance=3.0), BuildContext("cpu", "float32", 8, task.card.base_dir))
    base, merged = task.model(), task.model()
    merged.model.net = lora.worn(merged.model.net, folder, merge=True)
    request = ImageRequest(b"0" * 16, b"0" * 16, b"0" * 16, "a nurse", 0, 7)
    (image,) = model.tokens([request])
    with torch.no_grad():
        blank = base.token_logits()(*base.blank_inputs(["a nurse"], image[None]))
        blank_worn = merged.token_logits()(*merged.blank_inputs(["a nurse"], image[None]))
        stated = merged.token_logits()(*merged.token_inputs(["a nurse"], image[None]))
    from fairbench.networks.sampling import gumbel

    noise = torch.from_numpy(np.concatenate(list(gumbel([7], len(image), stated.shape[-1])))[:, 0])
    assert float((blank - blank_worn).abs().max()) > 1e-3, "alike, they could not tell one from the other"
    np.testing.assert_array_equal((torch.lerp(blank, stated, 3.0)[0] + noise).argmax(-1).numpy(), image)


def test_permuted_rewards_are_the_same_ones_elsewhere(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpo, "Labeller", _Labels)
    groups, stated = np.arange(24).reshape(2, 12) % 4, np.array([-1, 1])
    found = []
    for reward in ("balance", "permuted", "permuted"):
        task = job("out", images=12, reward=reward, face=0.0)
        model = task.model()
        net = lora.new(model.network(), task.card.card.lora_targets, 4, 4.0, 0.0, 0)
        objective = table.built(Setup(task, model, net, finetune._accelerator(task), SILENT))
        groups[0, :6] = 0
        found.append(objective._rewards(groups, Part(task.order.examples(0, 2), 0, np.arange(2)), stated))  # type: ignore[attr-defined]
    plain, permuted, again = found
    np.testing.assert_array_equal(permuted, again)
    np.testing.assert_allclose(np.sort(plain[0]), np.sort(permuted[0]))
    assert (plain[0] != permuted[0]).any()
    np.testing.assert_array_equal(plain[1], permuted[1])  # what a prompt states is rewarded as it is


def test_the_gradient_of_the_loss_against_finite_differences() -> None:
    """Of reward times log-probability and the divergence from the base, of guided distributions."""
    rng = np.random.default_rng(3)
    logits, blank, base = (torch.from_numpy(rng.normal(size=(2, 3, 5))) for _ in range(3))
    tokens, rewards = torch.from_numpy(rng.integers(5, size=(2, 3, 1))), torch.tensor([0.4, -0.7], dtype=torch.float64)

    def loss(values: torch.Tensor) -> torch.Tensor:
        policy, frozen = (distill.guided(of, blank, 3.0, 0.8) for of in (values, base))
        log_p = policy.gather(-1, tokens)[..., 0].mean(dim=1)
        return -(rewards * log_p).mean() + 0.3 * distill.divergence(policy, frozen).mean()

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),))


def test_a_distilled_adapter_answers_and_scores_as_before_it_drew(job: Callable[..., Job], tmp_path: Path) -> None:
    """Which rows are unconditional is forgotten when they are drawn; at guidance 3, another number of rows follows."""
    folder = finetune.train(job("out", steps=1, learning_rate=0.3, kl=3.0), SILENT)
    from fairbench import registry
    from fairbench.types import BuildContext, ImageRequest

    task = job("out")
    worn = task.card.card.model_copy(update={"lora": str(folder)})
    kind = registry.resolve("adapters", worn.adapter)
    model = kind(worn, kind.Params(guidance=3.0), BuildContext("cpu", "float32", 8, task.card.base_dir))
    texts, images = ["a nurse"] * 4, np.zeros((4, model.model.tokens_per_image), dtype=np.int64)
    before = model.log_probs(texts, images)
    model.tokens([ImageRequest(bytes([i]) * 16, b"0" * 16, b"0" * 16, "a nurse", i, i) for i in range(2)])
    np.testing.assert_array_equal(model.log_probs(texts, images), before)
    np.testing.assert_array_equal(model.log_probs(texts[:3], images[:3]), before[:3])


def test_another_kind_does_not_go_on_from_it_at_guidance(job: Callable[..., Job], tmp_path: Path) -> None:
    guided = finetune.train(job("guided", steps=1), SILENT)
    sft = job("sft")
    other = Job(Settings("sft", steps=1, batch=2), sft.card, sft.data, tmp_path / "sft", parent=guided, device="cpu")
    with pytest.raises(FairbenchError, match="are off in unconditional rows, those of other trainings are on"):
        finetune.train(other, SILENT)


def test_labels_that_the_labeller_does_not_give_are_refused(job: Callable[..., Job]) -> None:
    task = job("out")
    rows = [dataclasses.replace(row, group=("man",)) for row in task.data.rows]
    renamed = balanced.Balanced({"gender": ("woman", "man")}, (("woman",), ("man",)), rows)
    with pytest.raises(FairbenchError, match="has gender with the labels woman, man, and the labeller"):
        finetune.train(dataclasses.replace(task, data=renamed), SILENT)
