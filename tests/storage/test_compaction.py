"""Compaction: fewer shards, the same rows for every reader, at any moment."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fairbench.errors import StoreError
from fairbench.runs.evidence import _first_looks
from fairbench.storage import compaction, ids, repeats, schemas
from fairbench.storage.compaction import Compacted
from fairbench.storage.local import LocalFiles
from fairbench.storage.store import Store

KEY = "0" * 32


def id_of(number: int) -> bytes:
    return np.random.default_rng(number).bytes(16)


def table(stage: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a stage; what they do not say is null, or a constant where null is not allowed."""
    schema = schemas.schema(stage)
    constant = {pa.string(): "x", pa.int64(): 0, schemas.ID: b"\0" * 16}
    columns = {
        field.name: [row.get(field.name, None if field.nullable else constant[field.type]) for row in rows]
        for field in schema
    }
    return schemas.build(stage, columns)


def image(number: int, **columns: Any) -> dict[str, Any]:
    data = np.random.default_rng(number).bytes(500 + number)
    notes = [("a", str(number))] if number % 2 else None
    pixels = {"bytes": data, "path": None}
    return {"image_id": id_of(number), "status": "ok", "image": pixels, "notes": notes, **columns}


def label(number: int, attribute: str, **columns: Any) -> dict[str, Any]:
    ok = {"status": "ok", "label": "female", "prob": 0.75, "probs": [0.75, 0.25]}
    return {"face_id": id_of(number), "image_id": id_of(number), "attribute": attribute, **ok, **columns}


def content(store: Store, stage: str) -> list[str]:
    return sorted(str(row) for _, rows in store.scan(stage, KEY) for row in rows.to_pylist())


def compact(store: Store, stage: str, size: int = 1 << 20) -> Compacted:
    return compaction.compact(Store(store.root), stage, KEY, size)


@pytest.mark.parametrize("size", [1 << 14, 1 << 20])
def test_the_rows_stay_and_the_shards_become_few(tmp_path: Path, size: int) -> None:
    store = Store(tmp_path)
    for start in range(0, 60, 3):
        store.write("images", KEY, table("images", [image(i) for i in range(start, start + 3)]))
    before, shards = content(store, "images"), store.listing("images", KEY)
    result = compact(store, "images", size)
    after = store.listing("images", KEY)
    assert content(store, "images") == before and len(before) == 60
    assert (result.shards_before, result.shards, result.repeated) == (len(shards), len(after), 0)
    assert len(after) == 1 if size == 1 << 20 else 2 <= len(after) <= 10
    assert all(s.size < 2 * size for s in after)
    assert compact(store, "images", size).shards == len(after)  # nothing is left to do
    assert set(Store(tmp_path).ids("images", KEY)) == {id_of(i) for i in range(60)}


def test_large_shards_and_one_alone_are_left_as_they_are(tmp_path: Path) -> None:
    store = Store(tmp_path)
    large = store.write("images", KEY, table("images", [image(i) for i in range(40)]))
    alone = store.write("images", KEY, table("images", [image(40)]))
    assert compact(store, "images", 1 << 14).shards == 2
    assert {large, alone} == set(store.shards("images", KEY))


def test_two_writers_of_the_same_rows_leave_them_once(tmp_path: Path) -> None:
    """Blocks that overlap, and seconds that differ: the copy that was read before is the one that is kept."""
    store = Store(tmp_path)
    for driver, step in ((0, 3), (1, 4)):
        for start in range(0, 24, step):
            rows = [image(i, seconds=float(driver)) for i in range(start, start + step)]
            store.write("images", KEY, table("images", rows))
    first: dict[bytes, Any] = {}
    for _, rows in store.scan("images", KEY):
        for row in rows.to_pylist():
            first.setdefault(row["image_id"], row)
    assert len({row["seconds"] for row in first.values()}) == 2  # some of each, or the test shows nothing
    assert compact(store, "images").repeated == 24
    assert content(store, "images") == sorted(map(str, first.values()))


def test_labels_are_told_apart_by_face_and_attribute(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for attribute in ("gender", "race"):
        store.write("labels", KEY, table("labels", [label(i, attribute) for i in range(5)]))
    store.write("labels", KEY, table("labels", [label(4, "race", prob=0.5), label(5, "race")]))
    assert compact(store, "labels").repeated == 1
    kept = [(r["face_id"], r["attribute"]) for _, t in store.scan("labels", KEY) for r in t.to_pylist()]
    assert len(kept) == len(set(kept)) == 11


def faces(image_number: int, status: str, *numbers: int) -> list[dict[str, Any]]:
    if status != "ok":
        return [{"image_id": id_of(image_number), "status": status}]
    return [{"image_id": id_of(image_number), "status": "ok", "face_id": id_of(n), "face_index": n} for n in numbers]


def test_all_faces_of_an_image_come_from_its_first_successful_detection(tmp_path: Path) -> None:
    """The oracle is what evidence is made with: another code path. Shards in all orders, as their names are hashes."""
    detections = [
        [*faces(1, "failed"), *faces(2, "ok", 20, 21), *faces(3, "failed")],
        [*faces(1, "ok", 10, 11), *faces(2, "failed"), *faces(4, "ok", 40)],
        [*faces(1, "ok", 12), *faces(2, "ok", 22), *faces(3, "failed"), *faces(5, "no_face")],
    ]
    winners = set()
    for case, order in enumerate(itertools.permutations(range(3))):
        store = Store(tmp_path / str(case))
        for number in order:  # another `route`, another name: all orders of names occur
            rows = [{**row, "route": case} for row in detections[number]]
            store.write("faces", KEY, table("faces", rows))
        oracle = _first_looks([t for _, t in store.scan("faces", KEY)])
        expected = sorted(str(row) for t in oracle for row in t.to_pylist())
        assert compact(store, "faces").repeated > 0
        assert content(store, "faces") == expected
        winners.add(str([{**row, "route": 0} for t in oracle for row in t.to_pylist()]))
    assert len(winners) > 1


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Raise at the n-th change of the store, before it is made."""
    steps = itertools.count()

    def counted(method: Any) -> Any:
        def change(self: Any, *args: Any) -> Any:
            if next(steps) == step:
                raise Killed
            return method(self, *args)

        return change

    monkeypatch.setattr(Store, "write", counted(Store.write))
    monkeypatch.setattr(LocalFiles, "remove", counted(LocalFiles.remove))


def read_first(store: Store, stage: str) -> dict[bytes, str]:
    """What readers take: of each id the first row, in the order of the shards."""
    first: dict[bytes, str] = {}
    for _, rows in store.scan(stage, KEY):
        for row in rows.to_pylist():
            first.setdefault(row["image_id"], str(row))
    return first


@pytest.mark.parametrize("size", [1 << 15, 1 << 20])
def test_killed_at_any_step_readers_see_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    blocks = [range(6), range(6, 12), range(3, 9), range(12), range(9, 15), range(15, 18)]
    for step in itertools.count():
        store = Store(tmp_path / str(step))
        for number, block in enumerate(blocks):
            store.write("images", KEY, table("images", [image(i, seconds=float(number)) for i in block]))
        before = read_first(store, "images")
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                compact(store, "images", size)
            except Killed:
                killed = True
            else:
                killed = False
        assert read_first(Store(store.root), "images") == before
        compact(store, "images", size)  # and the next one finishes it
        assert read_first(Store(store.root), "images") == before
        if size == 1 << 20:  # else one of the small shards may be left alone, which is not worth a look
            assert not repeats.taken(Store(store.root), "images", KEY)
        if not killed:
            break
    assert step > 8


def test_a_damaged_shard_costs_its_own_rows_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = [store.write("images", KEY, table("images", [image(i)])) for i in range(4)]
    damaged = Path(str(paths[2]))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    compact(store, "images")
    assert set(Store(tmp_path).ids("images", KEY)) == {id_of(i) for i in (0, 1, 3)}
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_no_space_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for i in range(4):
        store.write("images", KEY, table("images", [image(i)]))
    before = store.shards("images", KEY)

    def full(self: Store, *args: Any) -> None:
        raise StoreError("no space is left")

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(StoreError, match="no space"):
        compact(store, "images")
    assert store.shards("images", KEY) == before


@pytest.mark.parametrize("read", ["scan", "batches"])
def test_who_reads_while_shards_are_merged_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """The merging happens after the reader has listed the shards, and before it reads the first."""
    store = Store(tmp_path)
    for i in range(5):
        store.write("images", KEY, table("images", [image(i)]))
    reader, once, original = Store(tmp_path), threading.Lock(), Store.read

    def late(self: Store, *args: Any) -> Any:
        if self is reader and once.acquire(blocking=False):
            compact(store, "images")
        return original(self, *args)

    monkeypatch.setattr(Store, "read", late)
    found = (
        [t for _, t in reader.scan("images", KEY, ["image_id"])]
        if read == "scan"
        else [t for t, _ in ids.batches(reader, "images", KEY, ["image_id"])]
    )
    assert set(pa.concat_tables(found)["image_id"].to_pylist()) == {id_of(i) for i in range(5)}


def test_two_compactions_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in range(30):
        store.write("images", KEY, table("images", [image(i)]))
    before = content(store, "images")
    threads = [threading.Thread(target=compact, args=(store, "images")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(store, "images") == before and len(store.shards("images", KEY)) == 1
