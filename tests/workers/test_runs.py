"""Runs through a worker: killed and resumed, interrupted, in whatever blocks, with what they record."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.builders import processes
from tests.builders.cards import write_task
from tests.builders.cli import Cli
from tests.builders.workers import ended, write_card

ARGS = ("--labeller", "phantom", "--no-sheets", "--quiet", "--device", "cpu")


def images(store: Path) -> dict[tuple[str, int], str]:
    """Prompt and index -> the sha256 of the image that is stored."""
    rows = [row for path in store.glob("images/*/*.parquet") for row in pq.read_table(path).to_pylist()]
    return {(row["text"], row["sample_index"]): row["sha256"] for row in rows}


@pytest.mark.long
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(cli: Cli, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    card = write_card(tmp_path, settings={"pids": str(pids)})
    task = write_task(tmp_path / "jobs", ["nurse", "senator", "baker"])
    run = ("run", "--model", card, "--task", task, "-n", 3, *ARGS)
    cli(*run, "--out", "whole", "--store", "whole-store").succeeded()
    whole = images(tmp_path / "whole-store")
    assert len(whole) == len(set(whole.values())) == 9  # no two images share their noise
    one_by_one = (*run, "--batch-size", 1, "--out", "killed", "--store", "killed-store")
    travelling = tmp_path / "travelling"
    travelling.mkdir()
    program = processes.KillAtWrite(4)
    killed = processes.start(tmp_path, *one_by_one, program=program, env={"TMPDIR": str(travelling)})
    assert killed.wait() == -signal.SIGKILL
    before = images(tmp_path / "killed-store")
    assert 0 < len(before) < 9 and before.items() <= whole.items()
    assert all(ended(int(pid)) for pid in pids.read_text().split()[1:])  # the child dies with its parent
    assert not list(travelling.glob("fairbench-*"))  # and removes the folder of the images that travel
    assert cli(*one_by_one).succeeded()
    assert images(tmp_path / "killed-store") == whole
    tables = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "killed")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_and_so_does_its_worker(tmp_path: Path, sent: signal.Signals) -> None:
    pids = tmp_path / "pids"
    card = write_card(tmp_path, settings={"pids": str(pids)})
    task = write_task(tmp_path / "jobs", ["nurse"], "hang {subject}")
    run = processes.start(tmp_path, "run", "--model", card, "--task", task, *ARGS)
    wait_for(lambda: pids.is_file() and len(pids.read_text().split()) == 3)
    os.kill(run.process.pid or 0, sent)
    start = time.monotonic()
    code = run.wait()
    assert time.monotonic() - start < 10
    assert code == (130 if sent == signal.SIGINT else -signal.SIGTERM)
    if sent == signal.SIGINT:
        assert "Interrupted. Finished work is kept" in run.err and "Traceback" not in run.err
    assert all(ended(int(pid)) for pid in pids.read_text().split())


def wait_for(holds: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_run_records_what_was_declared_and_what_the_worker_said(cli: Cli, tmp_path: Path) -> None:
    card = write_card(tmp_path, settings={"brightness": 0.5}, seconds_per_image=50)
    task = write_task(tmp_path / "jobs", ["nurse"])
    cli("run", "--model", card, "--task", task, *ARGS, "--out", "out").succeeded()
    effective = json.loads((tmp_path / "out" / "run.json").read_text())["effective_settings"]
    assert effective["settings"] == {"brightness": 0.5} and effective["recipe"]["name"] == "stub"
    assert effective["worker"]["device"] == "cpu" and effective["worker"]["packages"]["numpy"]
    assert str(tmp_path) not in json.dumps(effective)
    again = cli("run", "--model", card, "--task", task, *ARGS, "--out", "again").succeeded()
    assert again.code == 0  # from the store: no worker is needed
    assert json.loads((tmp_path / "again" / "run.json").read_text())["effective_settings"]["worker"] is None


def test_the_key_covers_what_can_change_an_image_and_nothing_else(cli: Cli, tmp_path: Path) -> None:
    def key(*args: object, **sampling: Any) -> str:
        card = write_card(tmp_path, **sampling)
        dry = cli(
            "run", "--model", card, "--task", "occupations-mini", "--labeller", "phantom", "--dry-run", "--json", *args
        )
        return str(dry.json()["image_key"])

    commit = "0123456789abcdef0123456789abcdef01234567"
    pinned = {"url": "https://example.org/a.git", "commit": commit}
    weights = {"w": {"repo": "a/b", "revision": commit}}
    first = key(repository=pinned, weights=weights)
    same: list[dict[str, Any]] = [
        {"repository": {**pinned, "url": "https://example.org/mirror.git"}},
        {"python": None, "device": "cuda:1", "seconds_per_image": 5, "seconds_to_start": 5},
        {"weights": {"w": {**weights["w"], "files": ["*.json"]}}},
    ]
    for changed in same:
        assert key(**{"repository": pinned, "weights": weights, **changed}) == first, changed
    for args in (("--dtype", "bfloat16"), ("--batch-size", 1)):
        assert key(*args, repository=pinned, weights=weights) == first
    others: list[dict[str, Any]] = [
        {"repository": {**pinned, "commit": commit[::-1]}},
        {"weights": {"w": {"repo": "a/b", "revision": commit[::-1]}}},
        {"settings": {"steps": 2}},
        {"width": 24},
        {"rows_per_call": 2},
        {"python_version": "3.10"},
        {"stub": "grey"},
    ]
    keys = [key(**{"repository": pinned, "weights": weights, **changed}) for changed in others]
    assert len({first, *keys}) == len(others) + 1
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("1")
    before = key(repository={"path": str(folder)})
    (folder / "a.py").write_text("2")
    assert key(repository={"path": str(folder)}) != before
