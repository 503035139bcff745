"""Compaction and collection are killed at random moments, by SIGKILL; whoever reads then finds every row."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairbench.storage.store import Store
from fairbench.upkeep import collection
from tests.storage.test_compaction import KEY, compact, image, read_first, table

pytestmark = [pytest.mark.long, pytest.mark.slow]
KILLS = 20
COMPACT = """
import sys
from fairbench.storage import compaction
from fairbench.storage.store import Store
store = Store(sys.argv[1])
print("begins", flush=True)
compaction.compact(store, "images", sys.argv[2], 1 << 15)
"""
COLLECT = """
import sys
from fairbench.storage.store import Store
from fairbench.upkeep import collection
store = Store(sys.argv[1])
planned = collection.plan(store, collection.Wanted(collection.Selection(keys=[sys.argv[2]])))
print("begins", flush=True)
collection.remove(store, planned)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("part-*")}


def killed_in(folder: Path, delays: random.Random, script: str, store: Path, key: str) -> bool:
    """Run a script, kill it some time after so many shards have come or gone; return whether it was still at work."""
    before, changes = names(folder), delays.randint(0, 40)
    process = subprocess.Popen([sys.executable, "-c", script, str(store), key], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"begins\n"
    while len(before ^ names(folder)) < changes and process.poll() is None:
        pass
    time.sleep(delays.uniform(0, 0.005))
    process.kill()
    process.stdout.close()
    return process.wait() == -signal.SIGKILL


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A store in which two drivers made overlapping blocks of the same images, with different seconds."""
    store = Store(tmp_path / "made")
    for driver, step in ((0, 3), (1, 5)):
        for start in range(0, 150, step):
            rows = [image(i, seconds=float(driver)) for i in range(start, start + step)]
            store.write("images", KEY, table("images", rows))
    return tmp_path / "made"


def test_a_killed_compaction_loses_and_changes_nothing(made: Path, tmp_path: Path) -> None:
    before = read_first(Store(made), "images")
    store = shutil.copytree(made, tmp_path / "killed")
    folder, all_names = store / "images" / KEY, names(made / "images" / KEY)
    delays, in_the_middle = random.Random(0), 0
    for _ in range(KILLS):
        if not killed_in(folder, delays, COMPACT, store, KEY):  # it was done: begin again
            shutil.rmtree(store)
            shutil.copytree(made, store)
            continue
        in_the_middle += names(folder) != all_names
        assert read_first(Store(store), "images") == before
    assert in_the_middle >= 5  # or nothing was shown
    compact(Store(store), "images", 1 << 15)
    assert read_first(Store(store), "images") == before
    assert not Store(store).damaged


def test_a_killed_collection_leaves_the_rest_whole_and_is_finished_by_the_next(made: Path, tmp_path: Path) -> None:
    other, store = "1" * 32, Store(made)
    for i in range(200, 400):
        store.write("images", other, table("images", [image(i)]))
    kept = read_first(store, "images")
    hours_ago = time.time() - 7200
    for path in made.rglob("part-*"):
        os.utime(path, (hours_ago, hours_ago))
    delays, in_the_middle = random.Random(1), 0
    for turn in range(KILLS):
        copy = shutil.copytree(made, tmp_path / str(turn))
        killed_in(copy / "images" / other, delays, COLLECT, copy, other)
        left = Store(copy)
        assert read_first(left, "images") == kept
        assert set(left.ids("images", other).values()) == set(left.shards("images", other)) and not left.damaged
        if names(copy / "images" / other):
            in_the_middle += 1
            collection.remove(left, collection.plan(left, collection.Wanted(collection.Selection(keys=[other]))))
        assert not names(copy / "images" / other) and read_first(left, "images") == kept
        shutil.rmtree(copy)
    assert in_the_middle >= 5  # or nothing was shown
