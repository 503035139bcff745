"""Runs on Ray workers have the numbers of a run without, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import fairbench
from fairbench.errors import FairbenchError
from fairbench.executors import job as jobs
from fairbench.executors.draining import Draining
from fairbench.storage.store import Store
from tests.executors import models

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture
def plain_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C do what Python does, whatever a command that ran before in this process made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two processors on this machine, for all tests: starting one takes longer than a test."""
    from fairbench.executors.cluster import connected
    from fairbench.executors.settings import RaySettings

    before = dict(os.environ)
    with connected(RaySettings(workers=2, cpus_per_worker=1)):
        yield
    os.environ.clear()
    os.environ.update(before)


def run(folder: Path, model: Any, **options: Any) -> Any:
    """Do a small run into a folder."""
    chosen = {"task": models.TASK, "labeller": "phantom", "images_per_prompt": 6, "limit_prompts": 4, "batch_size": 4}
    chosen |= {"store": folder / "store", "out": folder / "out", "sheets": False, "progress": False, "scorers": ()}
    return fairbench.run(model, **(chosen | options))


def metrics(folder: Path) -> Any:
    return pq.read_table(folder / "out" / "metrics.parquet")


def recorded(folder: Path) -> Any:
    return json.loads((folder / "out" / "run.json").read_text())


def on_workers(folder: Path, model: Any, workers: int = 2, **options: Any) -> Any:
    return run(folder, model, executor="ray", workers=workers, cpus_per_worker=1, **options)


def carry(monkeypatch: pytest.MonkeyPatch, **variables: object) -> None:
    """Set variables of the test's model, which travel to the workers."""
    for name, value in variables.items():
        monkeypatch.setenv(f"FAIRBENCH_TEST_{name}", str(value))


@pytest.mark.long
def test_two_workers_have_the_numbers_of_a_run_without(cluster: None, tmp_path: Path) -> None:
    model = models.write(tmp_path)
    run(tmp_path / "one", model)
    on_workers(tmp_path / "two", model)
    assert metrics(tmp_path / "two").equals(metrics(tmp_path / "one"))
    one, two = recorded(tmp_path / "one"), recorded(tmp_path / "two")
    assert two["run_id"] == one["run_id"] and one["workers"] == []
    assert two["made_in_this_process"] == {"images": 24, "labels": 24} == one["made_in_this_process"]
    assert sum(w["images"] for w in two["workers"]) == 24 == sum(w["labels"] for w in two["workers"])
    assert all(w["images_per_second"] > 0 for w in two["workers"] if w["images"])


@pytest.mark.long
def test_a_block_whose_worker_dies_is_made_by_another(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.write(tmp_path)
    carry(monkeypatch, ONCE=tmp_path / "died")
    on_workers(tmp_path / "two", model)
    assert (tmp_path / "died").exists()
    run(tmp_path / "one", model)
    assert metrics(tmp_path / "two").equals(metrics(tmp_path / "one"))
    assert sum(w["deaths"] for w in recorded(tmp_path / "two")["workers"]) == 1
    (notice,) = [n for n in recorded(tmp_path / "two")["notices"] if n["code"] == "worker-restarted"]
    assert notice["count"] == 1 and notice["examples"] == ["its process was killed"]


@pytest.mark.long
def test_an_image_that_always_kills_is_a_failed_row(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry(monkeypatch, FATAL="cardiologist")
    on_workers(tmp_path, models.write(tmp_path), images_per_prompt=1, limit_prompts=8)
    record = recorded(tmp_path)
    images = record["statuses"]["images"]
    assert (images["failed"], images["ok"]) == (1, 7)
    assert "the worker died each of 3 times" in record["failures"][0]["error"]


@pytest.mark.long
def test_one_worker_and_a_function_of_this_process(cluster: None, tmp_path: Path) -> None:
    from fairbench.phantom.renderer import render

    def draw(prompt: str, seed: int) -> Any:
        import numpy as np

        return render("male" if seed % 3 else "female", "Asian", np.random.default_rng(seed))

    run(tmp_path / "one", draw, name="mine", version=1)
    on_workers(tmp_path / "two", draw, workers=1, name="mine", version=1)
    assert metrics(tmp_path / "two").equals(metrics(tmp_path / "one"))
    assert recorded(tmp_path / "two")["workers"][0]["images"] == 24


@pytest.mark.long
def test_three_workers_are_killed_at_random_and_the_numbers_are_the_same(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.executors.kill_workers import Killer

    model = models.write(tmp_path)
    carry(monkeypatch, SECONDS=0.1)
    with Killer(kills=3, seed=7, pause=4.0) as killer:
        on_workers(tmp_path / "two", model, images_per_prompt=40)
    assert killer.killed == 3
    carry(monkeypatch, SECONDS=0)
    run(tmp_path / "one", model, images_per_prompt=40)
    assert metrics(tmp_path / "two").equals(metrics(tmp_path / "one"))
    assert recorded(tmp_path / "two")["statuses"]["images"]["failed"] == 0


@pytest.mark.long
def test_ctrl_c_keeps_what_is_in_flight_and_the_next_run_goes_on(
    cluster: None, plain_ctrl_c: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = models.write(tmp_path), tmp_path / "two"
    carry(monkeypatch, SECONDS=0.2)

    def press() -> None:
        while not list((folder / "store").glob("images/*/part-*")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        on_workers(folder, model, images_per_prompt=40)
    pressing.join()
    kept = sum(pq.read_table(p).num_rows for p in (folder / "store").glob("images/*/part-*"))
    assert 0 < kept < 160 and kept % 4 == 0
    carry(monkeypatch, SECONDS=0)
    on_workers(folder, model, images_per_prompt=40)
    assert recorded(folder)["made_in_this_process"]["images"] == 160 - kept
    run(tmp_path / "one", model, images_per_prompt=40)
    assert metrics(folder).equals(metrics(tmp_path / "one"))


@pytest.mark.usefixtures("plain_ctrl_c")
def test_the_second_ctrl_c_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), Draining() as draining:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert draining.wanted
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        pytest.fail("the second did nothing")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_node_with_another_version_is_refused(tmp_path: Path) -> None:
    from fairbench.executors.worker import Worker

    old = jobs.Job("0.0.1", str(tmp_path), {}, [], b"")
    host, answer = Worker().open(old, "cpu")
    assert answer.error == (
        f"{host} has fairbench {fairbench.__version__}, and the run was started by 0.0.1: install the same version "
        "on every node."
    )


def test_what_cannot_be_pickled_is_said(tmp_path: Path) -> None:
    from fairbench.adapters import callable as functions
    from fairbench.runs import spec
    from fairbench.runs.arguments import RunSettings

    lock = threading.Lock()

    def draw(prompt: str, seed: int) -> Any:
        return lock

    plan = spec.make(RunSettings(functions.offer(draw, "locked", 1), models.TASK, labeller="phantom"))
    with pytest.raises(FairbenchError, match=r"locked cannot be sent to a worker .*FILE.py:FUNCTION"):
        jobs.pack(plan, Store(tmp_path))
