"""The store: whole shards or none, damage found and named, newer versions refused."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fairbench.errors import StoreError
from fairbench.storage import atomic, schemas
from fairbench.storage.local import LocalFiles
from fairbench.storage.store import Store


def rows(*names: bytes) -> pa.Table:
    n = len(names)
    ids = [name.ljust(16, b"\0") for name in names]
    blank: dict[str, Any] = {f: [None] * n for f in schemas.schema("faces").names}
    return schemas.build("faces", {**blank, "image_id": ids, "status": ["no_face"] * n})


def only_shard(store: Store) -> Path:
    (path,) = store.shards("faces", "k")
    return path


def test_write_and_read_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write("faces", "k", rows(b"a", b"b"))
    assert path is not None
    assert store.read("faces", path).equals(rows(b"a", b"b"))  # type: ignore[union-attr]
    assert store.ids("faces", "k") == {b"a".ljust(16, b"\0"): path, b"b".ljust(16, b"\0"): path}
    assert store.write("faces", "k", rows()) is None


def test_two_writers_of_the_same_rows_make_one_shard(tmp_path: Path) -> None:
    Store(tmp_path).write("faces", "k", rows(b"a"))
    Store(tmp_path).write("faces", "k", rows(b"a"))
    assert len(Store(tmp_path).shards("faces", "k")) == 1


@pytest.mark.parametrize("position", [10, 100, -30, -5])
def test_a_flipped_bit_anywhere_is_found_and_named(
    tmp_path: Path, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.write("faces", "k", rows(*(f"{i}".encode() for i in range(50))))
    path = only_shard(store)
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    fresh = Store(tmp_path)
    logging.getLogger("fairbench").propagate = True
    with caplog.at_level("WARNING", logger="fairbench"):
        assert fresh.ids("faces", "k") == {}
    assert fresh.damaged == [path]
    assert path.name in caplog.text
    assert not path.exists()
    assert list((tmp_path / "damaged").iterdir())  # moved aside, not deleted


def test_a_truncated_shard_is_not_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("faces", "k", rows(b"a", b"b"))
    path = only_shard(store)
    path.write_bytes(path.read_bytes()[:-7])
    assert Store(tmp_path).ids("faces", "k") == {}


def test_a_look_moves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("faces", "k", rows(b"a"))
    path = only_shard(store)
    path.write_bytes(path.read_bytes()[:-1])
    assert Store(tmp_path, look_only=True).ids("faces", "k") == {}
    assert path.exists()


def test_a_read_error_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that drops its data on a read error loses work: only a wrong hash may move a shard aside."""
    store = Store(tmp_path)
    store.write("faces", "k", rows(b"a"))
    path = only_shard(store)

    class Failing(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "open", lambda self, path, **options: Failing(path))
        with pytest.raises(StoreError, match=r"part-.* cannot be read"):
            Store(tmp_path).ids("faces", "k")
    assert path.exists()


def test_no_space_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write("faces", "k", rows(b"a"))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space is left"):
        store.write("faces", "k", rows(b"b"))
    assert len(store.shards("faces", "k")) == 1
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".tmp")]


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).create()
    (tmp_path / "fairbench-store.json").write_text(json.dumps({"layout": 2}))
    with pytest.raises(StoreError, match="newer fairbench"):
        Store(tmp_path)
    (tmp_path / "fairbench-store.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        Store(tmp_path)


def test_a_table_of_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "VERSIONS", {**schemas.VERSIONS, "faces": 2})
        store.write("faces", "k", rows(b"a"))
    with pytest.raises(StoreError, match="schema 2, this one reads up to 1"):
        Store(tmp_path).ids("faces", "k")


def test_an_older_table_is_upgraded_on_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write("faces", "k", rows(b"a"))

    def two(table: pa.Table) -> pa.Table:
        return table.append_column("new", pa.array([7] * len(table)))

    monkeypatch.setattr(schemas, "VERSIONS", {**schemas.VERSIONS, "faces": 2})
    monkeypatch.setattr(schemas, "UPGRADES", {("faces", 1): two})
    ((_, table),) = store.scan("faces", "k", ["new"])
    assert table["new"].to_pylist() == [7]


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a fairbench faces table"):
        schemas.upgrade("faces", pa.table({"x": [1]}), "somewhere.parquet")


def test_check_names_the_column() -> None:
    good = rows(b"a")
    odd = good.set_column(
        good.schema.get_field_index("status"), schemas.schema("faces").field("status"), pa.array(["maybe"])
    )
    with pytest.raises(ValueError, match=r"faces\.status holds 'maybe'"):
        schemas.check("faces", odd)
    with pytest.raises(ValueError, match="columns or metadata"):
        schemas.check("faces", good.drop_columns(["route"]))


def test_what_a_killed_writer_left_is_removed_when_it_is_safe(tmp_path: Path) -> None:
    """Old and held by nobody; not a file of another name, not a young one, not one that a process still writes."""
    Store(tmp_path).write("faces", "k", rows(b"a"))
    folder = only_shard(Store(tmp_path)).parent
    names = {
        "killed": f".part-{'0' * 32}.parquet.0123abcd.tmp",
        "young": f".part-{'1' * 32}.parquet.0123abcd.tmp",
        "held": f".part-{'2' * 32}.parquet.0123abcd.tmp",
        "foreign": ".part-notes.tmp",
    }
    for who, name in names.items():
        (folder / name).write_bytes(b"half")
        if who != "young":
            os.utime(folder / name, (0, time.time() - 2 * atomic.STALE_SECONDS))
    with (folder / names["held"]).open("ab") as writer:
        assert atomic.lock(writer.fileno(), wait=False)
        os.utime(folder / names["held"], (0, 0))
        Store(tmp_path).write("faces", "other", rows(b"b"))
        left = {p.name for p in folder.glob(".*")}
    assert left == {names["young"], names["held"], names["foreign"]}
    Store(tmp_path).write("faces", "other", rows(b"c"))
    assert {p.name for p in folder.glob(".*")} == {names["young"], names["foreign"]}


def test_no_damaged_shard_is_lost_to_a_second_one(tmp_path: Path) -> None:
    for cut in (-1, -2):
        store = Store(tmp_path)
        store.write("faces", "k", rows(b"a"))
        path = only_shard(store)
        path.write_bytes(path.read_bytes()[:cut])
        assert Store(tmp_path).ids("faces", "k") == {}
    assert len({p.stat().st_size for p in (tmp_path / "damaged").iterdir()}) == 2


def test_new_folders_are_on_the_disk_before_the_file_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a file is only there if every folder above it has its name in the folder above that."""
    synced: list[str] = []
    sync = atomic.sync_folder

    def note(folder: Path) -> None:
        synced.append(str(folder))
        sync(folder)

    monkeypatch.setattr(atomic, "sync_folder", note)
    atomic.write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]


def test_a_file_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    atomic.write_text(tmp_path / "c.txt", "x")
    assert steps == ["fsync", "rename", "fsync"]
