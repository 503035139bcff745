"""Which images are there is known without reading them; what was changed or damaged is noticed all the same."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fairbench.notices import collecting
from fairbench.storage import cache, compaction, pixels, reading, schemas, small_columns
from fairbench.storage.local import LocalFiles
from fairbench.storage.objects import ObjectFiles
from fairbench.storage.store import Store
from fairbench.types import ImageRequest
from tests.builders.object_stores import ENVIRONMENT, ObjectStore

REQUESTS = [ImageRequest(bytes([i]) * 16, b"p" * 16, b"n" * 16, f"text {i}", i, i) for i in range(4)]


def image_rows(requests: list[ImageRequest]) -> pa.Table:
    """Images of noise, which PNG does not make smaller: 192 kB each."""
    blank: dict[str, Any] = {name: [None] * len(requests) for name in schemas.schema("images").names}
    noise = [np.random.default_rng(r.seed).integers(0, 256, (256, 250, 3), dtype=np.uint8) for r in requests]
    of_request = ("image_id", "prompt_id", "neutral_id", "text", "sample_index", "seed")
    columns = {name: [getattr(r, name) for r in requests] for name in of_request}
    rest = {
        "method": ["none"] * len(requests),
        "status": ["ok"] * len(requests),
        "notes": [[("a", "b")]] * len(requests),
    }
    return schemas.build(
        "images", {**blank, **columns, **rest, "image": [{"bytes": pixels.encode(x), "path": None} for x in noise]}
    )


def written(folder: Path) -> tuple[Path, Path]:
    """Write two shards of two images, and return them."""
    store = Store(folder)
    paths = [store.write("images", "k", image_rows(REQUESTS[i : i + 2])) for i in (0, 2)]
    assert all(path is not None and Path(path).stat().st_size >= small_columns.MIN_BYTES for path in paths)
    return Path(str(paths[0])), Path(str(paths[1]))


def flip(path: Path) -> None:
    """Flip a bit of an image, and let size and time be what they were."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[PurePath]:
    """The shards that are opened from now on."""
    paths: list[PurePath] = []
    original = LocalFiles.open

    def note(self: LocalFiles, path: PurePath, *, fresh: bool = False) -> BinaryIO | None:
        paths.append(path)
        return original(self, path, fresh=fresh)

    monkeypatch.setattr(LocalFiles, "open", note)
    return paths


def test_what_is_kept_is_what_the_shards_hold(
    tmp_path: Path, opened: list[PurePath], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = written(tmp_path)
    kept = dict(Store(tmp_path).scan("images", "k", small_columns.NAMES))
    assert opened == [] and set(kept) == set(paths)
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "another"))
    read = dict(Store(tmp_path).scan("images", "k", small_columns.NAMES))
    assert len(opened) == 2
    for path in paths:
        assert kept[path].equals(read[path]) and kept[path].schema.equals(read[path].schema)
        assert kept[path].schema.metadata == read[path].schema.metadata
        assert read[path].equals(pq.read_table(path, columns=small_columns.NAMES))
    assert len(Store(tmp_path).ids("images", "k")) == 4 and len(reading.index(Store(tmp_path), "k", REQUESTS)) == 4
    assert len(opened) == 2, "verified once, by whichever process"
    assert len(list(Store(tmp_path).scan("images", "k", ["image_id", "image"]))) == 2 and len(opened) == 4


def test_compacted_shards_are_known_too(tmp_path: Path, opened: list[PurePath]) -> None:
    written(tmp_path)
    compaction.compact(Store(tmp_path), "images", "k")
    opened.clear()
    (path,) = set(Store(tmp_path).ids("images", "k").values())
    assert opened == [] and path.exists()  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["truncated", "flipped, another time", "longer"])
def test_a_changed_shard_is_read_and_set_aside(tmp_path: Path, how: str) -> None:
    first, second = written(tmp_path)
    stat = first.stat()
    if how == "flipped, another time":
        flip(first)
        os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    else:
        data = first.read_bytes()
        first.write_bytes(data[:-1] if how == "truncated" else data + b"x")
        os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    store = Store(tmp_path)
    assert set(store.ids("images", "k").values()) == {second}
    assert store.damaged == [first] and not first.exists()


def test_damage_that_changes_neither_size_nor_time_is_found_by_whoever_reads_the_image(tmp_path: Path) -> None:
    first, second = written(tmp_path)
    flip(first)
    for look_only in (True, False):
        store = Store(tmp_path, look_only=look_only)
        rows = reading.index(store, "k", REQUESTS)
        assert len(rows) == 4
        with collecting() as noticed, pytest.raises(reading.DamagedInUse, match=r"run the same command again"):
            list(reading.ImageReader(store).stream(rows))
        assert {n.code for n in noticed} == {"damaged-shard"}
        assert first.exists() == look_only
        if look_only:  # what is left where it is does not count from now on; the test begins again
            assert set(Store(tmp_path, look_only=True).ids("images", "k").values()) == {second}
            flip(first)
            assert len(Store(tmp_path).ids("images", "k")) == 4
            flip(first)
    assert set(Store(tmp_path).ids("images", "k").values()) == {second}
    assert [row.request for row, _ in reading.ImageReader(store).stream(rows[2:])] == REQUESTS[2:]


def test_a_store_that_is_distrusted_reads_everything(tmp_path: Path) -> None:
    first, second = written(tmp_path)
    flip(second)
    store = Store(tmp_path)
    assert len(store.ids("images", "k")) == 4
    store.distrust()
    assert set(store.ids("images", "k").values()) == {first}


def test_copies_that_are_torn_or_of_another_version_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[PurePath]
) -> None:
    written(tmp_path / "store")
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "cache"))
    assert len(Store(tmp_path / "store").ids("images", "k")) == 4
    copies = sorted((tmp_path / "cache" / "columns").glob("*/*"))
    assert len(copies) == 2
    whole = copies[0].read_bytes()
    for torn in (b"", whole[:10], whole[:16], whole[:-1], whole[:100] + b"X" + whole[101:], b"x" + whole):
        copies[0].write_bytes(torn)
        opened.clear()
        assert len(Store(tmp_path / "store").ids("images", "k")) == 4
        assert len(opened) == 1 and copies[0].read_bytes() == whole, "read from the shard, and kept again"
    opened.clear()
    monkeypatch.setattr(schemas, "VERSIONS", {**schemas.VERSIONS, "images": 3})
    monkeypatch.setattr(schemas, "UPGRADES", {("images", 2): lambda data: schemas._with_columns("images", data)})
    assert len(Store(tmp_path / "store").ids("images", "k")) == 4 and len(opened) == 2


@pytest.mark.parametrize("how", ["a file is there", "no home"])
def test_without_a_cache_folder_shards_are_read_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, opened: list[PurePath], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    if how == "no home":

        def no_home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        for name in ("FAIRBENCH_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(Path, "home", no_home)
    else:
        monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "file"))
    logging.getLogger("fairbench").propagate = True
    written(tmp_path / "store")
    for times in (1, 2):
        assert len(Store(tmp_path / "store").ids("images", "k")) == 4
        assert len(opened) == 2 * times
    assert caplog.text == ""


def test_they_take_bounded_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "cache"))
    written(tmp_path / "store")
    (one, _) = (path.stat().st_size for path in (tmp_path / "cache").rglob("*.parquet"))
    monkeypatch.setattr(small_columns, "_LIMIT", one + one // 2)
    store = Store(tmp_path / "store")
    for i in range(4):
        store.write("images", "k", image_rows([REQUESTS[i], REQUESTS[(i + 2) % 4]]))
    (left,) = (tmp_path / "cache").rglob("*.parquet")
    assert left.stat().st_size <= one + one // 2


@pytest.mark.xdist_group("object-store")
def test_which_images_an_object_store_holds_is_known_without_fetching_them(
    moto_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    url, fetched = moto_store.url(f"small-columns/{tmp_path.name}"), []
    original = ObjectFiles.read
    monkeypatch.setattr(ObjectFiles, "read", lambda self, path: (fetched.append(path), original(self, path))[1])
    monkeypatch.setenv(cache.SIZE, "0")  # no copies of whole shards
    path = Store(url).write("images", "k", image_rows(REQUESTS))
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "another machine"))
    for _ in range(3):
        assert set(Store(url).ids("images", "k").values()) == {path}
    assert fetched.count(path) == 1
