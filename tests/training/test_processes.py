"""Trainings in processes of their own: two that share the work, and one that is killed anywhere."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.builders import train_driver
from tests.builders.folders import ROOT
from tests.builders.processes import start

WEIGHTS = "adapter_model.safetensors"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


@pytest.fixture(scope="module")
def command(tiny_card: Path, balanced_manifest: Path) -> tuple[str, ...]:
    """A training of five steps, dropout and all, without --out."""
    return (
        "train",
        "sft",
        "--model",
        str(tiny_card),
        "--data",
        str(balanced_manifest),
        "--steps",
        "5",
        "--batch",
        "4",
        "--rank",
        "4",
        "--lr",
        "1e-3",
        "--dropout",
        "0.2",
        "--seed",
        "7",
        "--retain",
        "0",
        "--device",
        "cpu",
        "--save-every",
        "2",
        "--log-every",
        "1",
        "-q",
    )


def exit_codes(what: str, folder: Path, *args: object, processes: int) -> tuple[list[int], str]:
    """Run a training in the driver, by processes that find each other as those of torchrun do; also their stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "OMP_NUM_THREADS": "1"}
    ranks: list[dict[str, str]] = [{}]
    if processes > 1:
        worlds = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        ranks = [env | worlds | {"RANK": str(i), "LOCAL_RANK": str(i)} for i in range(processes)]
    program = functools.partial(train_driver.drive, what, folder)
    started = [start(folder, *args, program=program, env=rank) for rank in ranks]
    return [process.wait() for process in started], "".join(process.err for process in started)


def trained(what: str, folder: Path, command: tuple[str, ...], *more: str, processes: int = 1) -> Path:
    """Run the training in the driver and return the adapter's folder, which is in `folder` too."""
    folder.mkdir(exist_ok=True)
    codes, errors = exit_codes(what, folder, *command, *more, "--out", folder / "out", processes=processes)
    assert set(codes) == {0}, errors
    return folder / "out"


def trained_by_torchrun(what: str, folder: Path, command: tuple[str, ...]) -> Path:
    """Run the training in the driver by two processes that torchrun starts."""
    folder.mkdir()
    args = (*TORCHRUN, "tests.builders.train_driver", what, folder, *command, "--out", folder / "out")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(a) for a in args], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def recorded(folder: Path, rank: int) -> list[dict[str, Any]]:
    return list(torch.load(folder / f"{rank}.pt", weights_only=True))


@pytest.fixture(scope="module")
def whole(command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that goes through a batch in two parts, never stopped."""
    return trained("gradients", tmp_path_factory.mktemp("whole"), command, "--accumulation", "2")


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(r["step"], r["loss"]) for r in rows]


@pytest.mark.long
@pytest.mark.parametrize(("what", "sharded"), [("gradients", False), ("fsdp", True)])
def test_two_processes_have_the_gradients_of_one(
    command: tuple[str, ...], whole: Path, tmp_path: Path, what: str, sharded: bool
) -> None:
    """DDP and FSDP2, on two CPU processes: every gradient of every step, as the optimiser gets it."""
    folder = tmp_path / "two"
    out = trained(what, folder, command, processes=2) if sharded else trained_by_torchrun(what, folder, command)
    one = recorded(whole.parent, 0)
    assert json.loads((out / "provenance.json").read_text())["processes"] == 2
    for rank in (0, 1):
        two = recorded(tmp_path / "two", rank)
        assert len(one) == len(two) == 5
        for mine, theirs in zip(one, two, strict=True):
            assert (mine["world"], theirs["world"], theirs["sharded"]) == (1, 2, sharded)
            assert any(g.abs().max() > 0 for g in mine["gradients"])
            for a, b in zip(mine["gradients"], theirs["gradients"], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    theirs = load_file(out / WEIGHTS)
    for name, value in load_file(whole / WEIGHTS).items():
        # Adam divides a gradient by its own size: of one that is nearly 0, rounding decides.
        assert (value - theirs[name]).abs().mean() < 1e-6, name


@pytest.mark.long
@pytest.mark.parametrize("kind", ["distill", "grpo"])
def test_two_processes_draw_what_one_draws(balanced_manifest: Path, tmp_path: Path, kind: str) -> None:
    """The phantom, whose images have faces: the same images, rewards and capability data, whoever has which part."""
    what = ("train", kind, "--model", "phantom", "--data", str(balanced_manifest), "--steps", "2", "--batch", "4")
    how = ("--dropout", "0", "--lr", "1e-2", "--retain", "0.3", "--device", "cpu", "--log-every", "1")
    more = ("--images", "4", "--follow", "0.3") if kind == "grpo" else ("--target", "female=.7")
    command = (*what, *how, *more, "-q")
    one = trained("gradients", tmp_path / "one", command, "--accumulation", "2")
    trained_by_torchrun("gradients", tmp_path / "two", command)
    single = recorded(one.parent, 0)
    for rank in (0, 1):
        for mine, theirs in zip(single, recorded(tmp_path / "two", rank), strict=True):
            assert theirs["world"] == 2
            for a, b in zip(mine["gradients"], theirs["gradients"], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    assert losses(tmp_path / "two" / "out") == [
        (step, pytest.approx(loss, rel=1e-4)) for step, loss in losses(tmp_path / "one" / "out")
    ]
    assert max(float(g.abs().max()) for g in single[-1]["gradients"]) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("kill:tokens", ["training.json"]),
        ("kill:state.pt:0.5", ["tokens", "training.json"]),
        ("kill:adapter_model.safetensors:0.5", ["state.pt", "tokens", "training.json"]),
        ("kill:provenance.json:0", ["state.pt", "tokens", "training.json"]),
    ],
)
def test_a_killed_training_goes_on_bit_for_bit(
    command: tuple[str, ...], whole: Path, tmp_path: Path, what: str, left: list[str]
) -> None:
    out = tmp_path / "out"
    same = (*command, "--accumulation", "2", "--out", str(out))
    codes, errors = exit_codes(what, tmp_path, *same, processes=1)
    assert codes == [-signal.SIGKILL], errors
    state = [p.name for p in sorted((out / "state").glob("*"))] if out.exists() else []
    assert [name.split("-")[0] for name in state if not name.startswith(".")] == left
    assert not (out / "provenance.json").exists()
    for path in out.rglob("*.tmp"):  # younger ones may have a writer on another machine, and stay
        os.utime(path, (0, 0))
    resumed = start(tmp_path, *same)
    assert resumed.wait() == 0, resumed.err
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert losses(out) == losses(whole)
    assert [p.name for p in out.rglob("*.tmp")] == []


@pytest.mark.long
def test_a_killed_sharded_training_goes_on(command: tuple[str, ...], whole: Path, tmp_path: Path) -> None:
    """The state holds the whole adapter: it does not matter how many processes had shards of it, or whether."""
    out = tmp_path / "out"
    same = (*command, "--out", str(out))
    codes, _ = exit_codes("fsdp:3", tmp_path, *same, processes=2)
    assert 0 not in codes
    assert (out / "state" / "state.pt").exists()  # of step 2
    refused = start(tmp_path, *same)
    assert refused.wait() == 2
    assert "processes x accumulation 2 there, 1 here" in " ".join(refused.err.split())
    resumed = start(tmp_path, *same, "--accumulation", "2")
    assert resumed.wait() == 0, resumed.err
    theirs = load_file(out / WEIGHTS)
    for name, value in load_file(whole / WEIGHTS).items():
        assert (value - theirs[name]).abs().mean() < 1e-6, name
