"""Copies of shards on this machine: bounded, the least recently read go first, several processes, no room at all."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from fairbench.storage.cache import SIZE, ShardCache, shard_cache


def name(number: int) -> str:
    return f"part-{number:032x}.parquet"


def held(cache: ShardCache, numbers: range) -> list[int]:
    """Return which shards have a copy, without reading them."""
    return [number for number in numbers if cache._path(name(number)).exists()]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_was_not_read_for_longest_makes_room(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 10_000)
    for number in range(10):
        cache.add(name(number), bytes([number]) * 1000)
        os.utime(cache._path(name(number)), ns=(number, 5))  # long ago, one after the other
    assert held(cache, range(10)) == list(range(10)) and size(tmp_path) == 10_000
    opened = cache.open(name(0))
    assert opened is not None and opened.read() == bytes(1000)
    assert cache._path(name(0)).stat().st_mtime_ns == 5, "the store knows verified bytes by when they were fetched"
    cache.add(name(10), b"x" * 1000)
    assert held(cache, range(11)) == [0, *range(3, 11)], "a sixteenth is freed beyond what is needed"
    assert cache.open(name(1)) is None


def test_the_size_is_never_exceeded(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 10_000)
    for number in range(60):
        cache.add(name(number), bytes(number * 7 % 1500))
        assert size(tmp_path) <= 10_000
    before = size(tmp_path)
    cache.add(name(1000), bytes(10_001))
    assert cache.open(name(1000)) is None and size(tmp_path) == before, "larger than all may be: others need not go"
    cache.drop(name(59))
    assert cache.open(name(59)) is None


def test_what_killed_processes_left_counts_and_goes(tmp_path: Path) -> None:
    left = ShardCache(tmp_path, 10_000)._path(name(1)).with_name(f".{name(1)}.00000000.tmp")
    left.parent.mkdir()
    left.write_bytes(bytes(9000))
    os.utime(left, ns=(1, 1))
    ShardCache(tmp_path, 10_000).add(name(2), bytes(2000))
    assert not left.exists()


def _fill(folder: Path, first: int) -> None:
    cache = ShardCache(folder, 100_000)
    for number in range(first, first + 60):
        cache.add(name(number), number.to_bytes(4, "big") * 500)
        opened = cache.open(name(number - first // 2))
        if opened is not None:
            assert opened.read()[:4] == (number - first // 2).to_bytes(4, "big")
        assert size_bound(folder)


def size_bound(folder: Path) -> bool:
    sizes = []
    for path in folder.rglob("*.parquet"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # it made room
            continue
    return sum(sizes) <= 100_000 + 3 * 100_000 // 16 + 3 * 2000


def test_several_processes_share_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill, args=(tmp_path, first)) for first in (0, 30, 1000)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_without_room_shards_are_fetched_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = ShardCache(tmp_path / "file", 10_000)
    for _ in range(2):
        cache.add(name(1), b"x")
    assert cache.open(name(1)) is None
    assert len([r for r in caplog.records if "cannot keep shards" in r.getMessage()]) == 1


def test_its_size_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shard_cache()._limit == 10_000_000_000
    monkeypatch.setenv(SIZE, "0.5")
    assert shard_cache()._limit == 500_000_000
    monkeypatch.setenv(SIZE, "0")
    cache = shard_cache()
    cache.add(name(1), b"x")
    assert cache.open(name(1)) is None
