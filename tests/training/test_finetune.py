"""Fine-tuning: a stopped training is the same training, two processes are one, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from fairbench.cards import catalog
from fairbench.display.progress import SILENT
from fairbench.errors import FairbenchError
from fairbench.networks import janus_tokens, lora
from fairbench.synthesis import balanced
from fairbench.training import checkpoint, finetune, output
from fairbench.training.job import Job
from fairbench.training.presets import Settings, settings
from fairbench.training.records import Records
from tests.builders.progress import Recorder

SMALL: dict[str, Any] = {"learning_rate": 1e-3, "batch": 4, "rank": 4, "alpha": 4.0, "dropout": 0.2, "seed": 7}


@pytest.fixture
def job(tiny_card: Path, balanced_manifest: Path, tmp_path: Path) -> Callable[..., Job]:
    def make(kind: str = "sft", steps: int = 5, out: str = "out", **fields: Any) -> Job:
        known = {f.name for f in dataclasses.fields(Settings)}
        asked = Settings(kind, steps=steps, **(SMALL | {k: v for k, v in fields.items() if k in known}))  # type: ignore[arg-type]
        rest = {k: v for k, v in fields.items() if k not in known}
        found = catalog.load_model(str(tiny_card))
        return Job(asked, found, balanced.read(balanced_manifest), tmp_path / out, device="cpu", save_every=2, **rest)

    return make


class Killed(BaseException):
    """Not an Exception, as the signal of a user is not."""


def kill_at(step: int, steps: int = 5) -> Recorder:
    def hook(name: str, done: int, total: int) -> None:
        if name == "training" and steps - total + done == step:  # a resumed training has fewer steps to go
            raise Killed

    return Recorder(hook)


def adapter(folder: Path) -> bytes:
    return (folder / lora.WEIGHTS).read_bytes()


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("kind", "kills"), [("sft", (3, 4)), ("bpo", (1,)), ("i2t", (4,))])
def test_a_killed_training_resumes_bit_for_bit(job: Callable[..., Job], kind: str, kills: tuple[int, ...]) -> None:
    whole = finetune.train(job(kind, out="whole", log_every=1), SILENT)
    parts = job(kind, out="parts", log_every=1)
    for step in kills:
        with pytest.raises(Killed):
            finetune.train(parts, kill_at(step))
        assert not (parts.out / lora.WEIGHTS).exists()
    finetune.train(parts, SILENT)
    assert adapter(parts.out) == adapter(whole)
    assert (parts.out / "README.md").read_bytes() == (whole / "README.md").read_bytes()
    assert [r["loss"] for r in rows(parts.out)] == [r["loss"] for r in rows(whole)]
    assert [r["step"] for r in rows(parts.out)] == list(range(5))
    assert not (whole / "state").exists()


def test_only_the_adapter_is_trained(job: Callable[..., Job]) -> None:
    folder = finetune.train(job(steps=2), SILENT)
    tensors = load_file(folder / lora.WEIGHTS)
    parts = {name.split(".language_model.")[1].split(".")[3] for name in tensors}
    assert parts == {f"{p}_proj" for p in ("q", "k", "v", "o", "gate", "up", "down")}
    assert all(".lora_A." in name or ".lora_B." in name for name in tensors)
    assert all(value.abs().max() > 0 for value in tensors.values())  # lora_B starts at 0: each was reached
    record = json.loads((folder / "provenance.json").read_text())
    assert record["base"]["model"] == "tiny"
    assert record["identity"]["rank"] == 4
    assert record["processes"] == 1
    assert json.loads((folder / lora.CONFIG).read_text())["base_model_name_or_path"] == "tiny"


@pytest.mark.parametrize("kind", ["sft", "bpo", "i2t"])
def test_training_lowers_its_loss(job: Callable[..., Job], kind: str) -> None:
    task = job(kind, steps=16, learning_rate=2e-2, dropout=0.0, batch=4, log_every=1)
    found = rows(finetune.train(task, SILENT))
    first, last = found[0]["loss"], sum(r["loss"] for r in found[-4:]) / 4
    assert last < (0.5 if kind == "bpo" else 0.9) * first


def test_bpo_goes_on_from_sft(job: Callable[..., Job]) -> None:
    sft = finetune.train(job(steps=2, out="sft"), SILENT)
    start = job("bpo", steps=1, out="bpo", parent=sft, learning_rate=1e-30, rank=8)
    found = finetune.train(start, SILENT)
    before, after = load_file(sft / lora.WEIGHTS), load_file(found / lora.WEIGHTS)
    assert all(torch.allclose(before[name], after[name], rtol=0, atol=1e-12) for name in before)
    record = json.loads((found / "provenance.json").read_text())
    assert record["identity"]["parent"] is not None


def test_parts_of_a_batch_are_the_batch(job: Callable[..., Job]) -> None:
    one = finetune.train(job(steps=1, out="one", dropout=0.0, log_every=1), SILENT)
    parts = job(steps=1, out="four", dropout=0.0, accumulation=4, checkpointing=True, log_every=1)
    progress = Recorder()
    four = finetune.train(parts, progress)
    assert [event for event in progress.events if event[0] == "training"] == [
        ("training", done, 1) for done in (0, 0.25, 0.5, 0.75, 1, 1)
    ]
    for name in ("loss", "grad_norm"):
        assert rows(one)[0][name] == pytest.approx(rows(four)[0][name], rel=1e-5)


@pytest.fixture
def _fresh_accelerator() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_fresh_accelerator")
def test_bf16(job: Callable[..., Job]) -> None:
    found = finetune.train(job("bpo", steps=2, mixed_precision="bf16", log_every=1), SILENT)
    assert all(math.isfinite(r["loss"]) and r["loss"] > 0 for r in rows(found))
    assert {value.dtype for value in load_file(found / lora.WEIGHTS).values()} == {torch.float32}


@pytest.mark.usefixtures("_fresh_accelerator")
def test_fp16_needs_an_accelerator(job: Callable[..., Job]) -> None:
    with pytest.raises(FairbenchError, match="--mixed-precision fp16 needs a GPU"):
        finetune.train(job(mixed_precision="fp16"), SILENT)


def test_evaluation_follows_the_training_and_changes_nothing(job: Callable[..., Job]) -> None:
    plain = finetune.train(job(steps=4, out="plain"), SILENT)
    seen: list[bool] = []

    def evaluate(model: Any) -> dict[str, float]:
        seen.append(any(module.training for module in model.network().modules()))
        torch.manual_seed(0)
        return {"eval/rd-gender": 0.5}

    watched = finetune.train(job(steps=4, out="watched", eval_every=2, evaluate=evaluate), SILENT)
    assert seen == [False, False]
    assert [r["step"] for r in rows(watched) if "eval/rd-gender" in r] == [1, 3]
    assert adapter(watched) == adapter(plain)


def test_a_finished_training_is_left_alone(job: Callable[..., Job]) -> None:
    folder = finetune.train(job(steps=2), SILENT)
    before = adapter(folder)
    assert finetune.train(job(steps=2), kill_at(1)) == folder
    assert adapter(folder) == before
    with pytest.raises(FairbenchError, match=r"another training \(rate 0.001 there, 0.1 here\)"):
        finetune.train(job(steps=2, learning_rate=0.1), SILENT)


def test_the_state_of_another_training_is_refused(job: Callable[..., Job]) -> None:
    with pytest.raises(Killed):
        finetune.train(job(), kill_at(3))
    with pytest.raises(FairbenchError, match=r"state\.pt belongs to another training \(dropout 0.2 there, 0.0 here\)"):
        finetune.train(job(dropout=0.0), SILENT)
    path = job().out / "state" / "state.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FairbenchError, match=r"state\.pt cannot be resumed"):
        finetune.train(job(), SILENT)


def test_what_was_made_from_images_as_they_were_read_before_is_not_gone_on_with(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image tokens once were others: such a cache is not read, and such a state or adapter is another training's."""
    with monkeypatch.context() as patch:
        patch.setattr(janus_tokens, "READING_VERSION", 1)
        with pytest.raises(Killed):
            finetune.train(job(), kill_at(3))
        (tokens,) = (job().out / "state").glob("tokens-*.npy")
        identity = checkpoint.load(job().out / "state" / "state.pt")["identity"]
    del identity["image reading version"]  # as states were written then
    now = job().base
    assert tokens.stem != f"tokens-{output.digest(job().data, now, 2)}"
    asked = output.identity(job(), 1)
    assert checkpoint.differences(identity, asked) == "image reading version 1 there, 2 here"
    with pytest.raises(FairbenchError, match="another training \\(image reading version 1 there, 2 here"):
        finetune.train(job(), SILENT)


def test_numbers_that_are_not_finite_stop_the_training(job: Callable[..., Job]) -> None:
    with pytest.raises(FairbenchError, match="gives no finite number: lower the rate"):
        finetune.train(job(learning_rate=1e30), SILENT)
    assert not (job().out / lora.WEIGHTS).exists()


def test_what_does_not_fit_is_refused(job: Callable[..., Job], tiny_card: Path) -> None:
    with pytest.raises(FairbenchError, match="A batch of 4 cannot be cut into 1 processes x 3"):
        finetune.train(job(accumulation=3), SILENT)
    found = catalog.load_model(str(tiny_card))
    bare = dataclasses.replace(found, card=found.card.model_copy(update={"lora_targets": None}))
    with pytest.raises(FairbenchError, match="tiny cannot be fine-tuned"):
        finetune.train(dataclasses.replace(job(), card=bare), SILENT)
    none = dataclasses.replace(found, card=found.card.model_copy(update={"lora_targets": "no_such_module"}))
    with pytest.raises(FairbenchError, match="'no_such_module' matches no module"):
        finetune.train(dataclasses.replace(job(), card=none), SILENT)


def test_a_parent_of_another_model_is_refused(job: Callable[..., Job], tmp_path: Path) -> None:
    sft = finetune.train(job(steps=1, out="sft"), SILENT)
    other = shutil.copytree(sft, tmp_path / "other")
    record = json.loads((other / "provenance.json").read_text())
    record["base"]["weights"] = {"repo": "somebody/else", "revision": "0" * 40}
    (other / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(FairbenchError, match="was trained on other weights"):
        finetune.train(job("bpo", out="bpo", parent=other), SILENT)


@pytest.mark.parametrize("written", [True, False], ids=["version in the record", "record from before versions"])
def test_a_parent_that_read_images_otherwise_is_refused(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(janus_tokens, "READING_VERSION", 1)
        sft = finetune.train(job(steps=1, out="sft"), SILENT)
    record = json.loads((sft / "provenance.json").read_text())
    assert record["identity"]["image reading version"] == 1
    if not written:
        del record["identity"]["image reading version"]
    (sft / "provenance.json").write_text(json.dumps(record))
    bpo = job("bpo", out="bpo", parent=sft)
    with pytest.raises(
        FairbenchError, match=r"^--from .*/sft was trained on .* \(image reading version 1 there, 2 here"
    ):
        finetune.train(bpo, SILENT)
    assert not bpo.out.exists()
    (sft / "provenance.json").unlink()  # nothing is known of it: a notice, no refusal
    assert output.identity(bpo, 1)["parent"] is not None


def test_trackers_are_closed_however_a_training_ends(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr(Records, "close", lambda self: closed.append(len(rows(job().out))))
    with pytest.raises(Killed):
        finetune.train(job(log_every=1), kill_at(3))
    assert closed == [3]
    with pytest.raises(FairbenchError, match="no finite number"):
        finetune.train(job(learning_rate=1e30, out="other"), SILENT)
    assert len(closed) == 2
    finetune.train(job(log_every=1), SILENT)
    assert closed[2:] == [5]


# --- presets ---


def test_presets_hold_the_papers_settings_and_flags_override_them() -> None:
    sft = settings("sft", "liu2025-gender", {})
    assert (sft.rank, sft.alpha, sft.dropout, sft.learning_rate, sft.batch, sft.epochs) == (
        32,
        32.0,
        0.1,
        1e-4,
        32,
        10.0,
    )
    assert sft.groups == ("gender",)
    for name, epochs in (("liu2025-gender", 2.0), ("liu2025-race", 1.0), ("liu2025-mix", 1.0)):
        bpo = settings("bpo", name, {})
        assert (bpo.learning_rate, bpo.batch, bpo.epochs, bpo.beta) == (8e-7, 8, epochs, 1.0)
    assert settings("bpo", None, {}).learning_rate == 8e-7
    assert settings("sft", "phantom", {"learning_rate": 0.5, "epochs": None}).learning_rate == 0.5
    assert settings("sft", "phantom", {"epochs": 3.0}).steps is None
    with pytest.raises(FairbenchError, match="no preset 'liu2025' \\(did you mean 'liu2025-"):
        settings("sft", "liu2025", {})
