"""The store: whole shards or none, damage found and named, newer versions refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fairbench import schemas
from fairbench.errors import StoreError
from fairbench.store import Store


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
    with caplog.at_level("WARNING"):
        import logging

        logging.getLogger("fairbench").propagate = True
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

    def fail(self: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
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
