"""Images that counted as there turn out damaged when they are labelled: the same run makes them again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from fairbench.display.progress import Silent
from fairbench.executors.pool import Pool
from fairbench.executors.worker import Worker
from fairbench.runs import labels, pipeline, spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading, small_columns
from fairbench.storage.store import Store


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    """Two prompts of ten images in four shards, the small columns of which are kept."""
    monkeypatch.setattr(small_columns, "MIN_BYTES", 0)
    settings = RunSettings(
        "phantom-exact", "occupations-mini", images_per_prompt=10, limit_prompts=2, scorers=(), batch_size=5
    )
    return spec.make(settings)


def damaged(folder: Path, plan: RunSpec) -> list[Path]:
    """Flip a bit of an image in two of the shards that `folder` has, of the same size and time, and return them."""
    shards = sorted((folder / "images" / plan.image_key).glob("*.parquet"))[1:3]
    for path in shards:
        stat, data = path.stat(), bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(Store(folder, look_only=True).ids("images", plan.image_key)) == 20, "they count as there"
    return shards


@pytest.fixture
def whole(plan: RunSpec, tmp_path: Path) -> pipeline.Outcome:
    """A run, of whose labels nothing is left in the store."""
    outcome = pipeline.run(plan, Store(tmp_path), Silent())
    for stage in ("faces", "labels"):
        shutil.rmtree(tmp_path / stage)
    return outcome


def test_one_run_makes_all_of_them_again(plan: RunSpec, whole: pipeline.Outcome, tmp_path: Path) -> None:
    shards, store = damaged(tmp_path, plan), Store(tmp_path)
    again = pipeline.run(plan, store, Silent())
    assert sorted(store.damaged, key=str) == shards and again.made["images"] == 10
    assert again.statuses == whole.statuses and again.unread == {}
    assert again.metrics is not None and again.metrics.equals(whole.metrics)
    assert sum(n.count for n in again.notices if n.code == "damaged-shard") == 2


def test_a_disk_that_damages_them_again_stops_the_run(
    plan: RunSpec, whole: pipeline.Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def always(self: reading.ImageReader, row: reading.ImageRow) -> bytes:
        tries.append(row)
        raise reading.DamagedInUse("part-x was damaged while it was in use: run the same command again.")

    monkeypatch.setattr(reading.ImageReader, "_bytes", always)
    with pytest.raises(reading.DamagedInUse, match="run the same command again"):
        pipeline.run(plan, Store(tmp_path), Silent())
    assert len(tries) == 2


def test_a_worker_says_so_and_the_run_takes_it_for_the_same(
    plan: RunSpec, whole: pipeline.Outcome, tmp_path: Path
) -> None:
    damaged(tmp_path, plan)
    worker = Worker()
    worker.spec, worker.store = plan, Store(tmp_path)
    worker._labels = labels.LabelStage(worker.store, plan.labeller, plan.faces_key, plan.labels_key)
    answer = worker.label(reading.index(worker.store, plan.image_key, plan.work), {})
    assert answer.error is None and answer.damaged is not None
    with pytest.raises(reading.DamagedInUse, match="run the same command again"):
        Pool._take_in(cast(Any, None), cast(Any, None), None, answer)
