"""The run store: `STORE/<stage>/<key>/part-<blake2b of the file>.parquet`, in a folder or in an object store.

A shard's name is the hash of its bytes, so one look tells a whole file from a truncated or damaged one: no flipped
bit, in a page or in the footer, is ever read as data. Damaged shards are moved aside, named, and made again.
Resuming asks which ids the shards hold; nothing is judged by a folder's existence. Of a shard of images that was
verified before, the ids are kept (`small_columns`); pixels are verified by whoever reads them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.errors import StoreError
from fairbench.notices import notice
from fairbench.storage import opening, schemas, small_columns
from fairbench.storage.files import Entry, StoreName
from fairbench.storage.small_columns import SmallColumns

LAYOUT = 1
STAGES: Final = ("images", "faces", "labels", "scores")
"""The stages of a run that have shards, in the order in which data travels."""
_MARKER = "fairbench-store.json"
_AHEAD = 32
"""Shards that are fetched before the first of them is read: so many images still fit into a small cache."""


class _Whole(NamedTuple):
    """The bytes of a shard, and their file's time. verified: now by their hash, or else earlier, by size and time."""

    data: bytes | memoryview
    modified: float | None
    verified: bool


class Store:
    """Shards in a folder or in an object store. Reading needs no write permission; processes may share one store."""

    def __init__(self, name: StoreName, *, look_only: bool = False) -> None:
        """`look_only`: damaged shards are passed over, not moved. Raises StoreError for a newer store."""
        self.files = opening.files_of(name)
        self.root, self._look_only = self.files.root, look_only
        self.damaged: list[PurePath] = []
        self._swept = False
        self._verified: set[tuple[str, int, float | None]] = set()
        self._small, self._distrusts = SmallColumns(), False
        marker = self.files.read(self.root / _MARKER)
        if marker is not None:
            shown = self.files.shown(self.root / _MARKER)
            try:
                layout = json.loads(marker)["layout"]
            except (ValueError, KeyError, TypeError) as err:
                raise StoreError(f"{shown} cannot be read ({err}): fix it or name another --store.") from err
            if not isinstance(layout, int) or layout > LAYOUT:
                raise StoreError(
                    f"{self.files.shown(self.root)} was written by a newer fairbench (store layout {layout}, this one "
                    f"reads up to {LAYOUT}): upgrade fairbench or name another --store."
                )

    def create(self) -> None:
        """Write the store's marker where there is none; remove what killed writers left in its folders.

        A temporary file is removed if it is an hour old and no process holds its lock.
        """
        known = self._swept and self.files.folder is None  # each look would be a request
        if not known and not self.files.exists(self.root / _MARKER):
            self.files.put(self.root / _MARKER, (json.dumps({"layout": LAYOUT}) + "\n").encode())
        if not self._swept:  # once in a process: what killed ones left takes space, and is never read
            self._swept = True
            self.files.sweep()

    def write(self, stage: str, key: str, table: pa.Table) -> PurePath | None:
        """Add a shard of checked rows; an empty table writes nothing. Raises StoreError."""
        if not table.num_rows:
            return None
        sink = pa.BufferOutputStream(pa.system_memory_pool())  # it grows in place, where pyarrow's own pool copies
        schemas.check(stage, table)
        binary = stage == "images"  # PNG bytes do not compress further, and need no dictionary
        # Ids and probabilities hardly compress; lz4 costs 4 % more space than zstd and is read twice as fast.
        compression = "none" if binary else "lz4"
        layout = {"compression": compression, "use_dictionary": not binary, "row_group_size": 1 << 20}
        pq.write_table(table, sink, write_page_checksum=True, **layout)
        data = memoryview(sink.getvalue())  # no copy: the images of a whole run may be in it
        path = self.root / stage / key / f"part-{_hash(data)}.parquet"
        self.create()
        self.files.put(path, data)
        if small_columns.applies(stage, len(data), small_columns.NAMES):
            with contextlib.suppress(OSError):  # another process moved it
                modified = None if self.files.folder is None else Path(path).stat().st_mtime
                self._keep(stage, path, _Whole(data, modified, verified=True))
        return path

    def shards(self, stage: str, key: str) -> list[PurePath]:
        """Return the paths of all shards of a key, in a stable order."""
        return [entry.path for entry in self.listing(stage, key)]

    def listing(self, stage: str, key: str) -> list[Entry]:
        """Return all shards of a key with their sizes and times, in the order of `shards`."""
        return [entry for entry in self.files.list(self.root / stage / key) if is_shard(entry.path)]

    def read(self, stage: str, path: PurePath, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Return one verified shard, or None where it is damaged (then moved aside and listed in `damaged`)."""
        whole = self._whole(path)
        if whole is None:
            return None
        if columns is None or not small_columns.applies(stage, len(whole.data), columns):
            return self._table(stage, path, whole, columns)
        return self._keep(stage, path, whole).select(list(columns))

    def _keep(self, stage: str, path: PurePath, whole: _Whole) -> pa.Table:
        """Keep the small columns of a shard, and return them."""
        table = self._table(stage, path, whole, small_columns.NAMES)
        self._small.keep(self._known_as(path, whole), table)
        return table

    def _table(self, stage: str, path: PurePath, whole: _Whole, columns: Sequence[str] | None) -> pa.Table:
        shown = self.files.shown(path)
        # Bytes whose hash was just computed need no second check.
        with pq.ParquetFile(pa.BufferReader(whole.data), page_checksum_verification=not whole.verified) as file:
            if schemas.is_current(stage, file.schema_arrow, shown):
                # Shards are small: handing each column to a thread costs more than decoding it.
                return file.read(list(columns) if columns else None, use_threads=False)
            table = schemas.upgrade(stage, file.read(), shown)
            return table.select(list(columns)) if columns else table

    def _whole(self, path: PurePath) -> _Whole | None:
        """Return a shard that has the bytes of its name; None where it is gone or damaged."""
        for fresh in (False, True):  # a copy on this machine may be damaged where the shard is not
            file = self.files.open(path, fresh=fresh)
            if file is None:  # another process moved it aside
                return None
            modified, data = self._content(path, file)
            stamp = str(path), len(data), modified
            if stamp in self._verified:
                return _Whole(data, modified, verified=False)
            if path.name == f"part-{_hash(data)}.parquet":
                if modified is not None:
                    self._verified.add(stamp)
                return _Whole(data, modified, verified=True)
        self._small.drop(self._known_as(path, _Whole(data, modified, verified=False)))
        self._set_aside(path)
        return None

    def _content(self, path: PurePath, file: BinaryIO) -> tuple[float | None, bytes]:
        """Return an open shard's time and bytes, and close it."""
        try:
            with file:
                return _modified(file), file.read()
        except OSError as err:
            raise StoreError(
                f"{self.files.shown(path)} cannot be read ({err.strerror}): fix the disk or its permissions."
            ) from err

    def _known_as(self, path: PurePath, shard: Entry | _Whole) -> str:
        """Return the name of a shard's small columns. An object is never changed, so that its time says nothing."""
        size = shard.size if isinstance(shard, Entry) else len(shard.data)
        return f"{size}-{0 if self.files.folder is None else shard.modified}-{path.name}"

    def distrust(self) -> None:
        """Read every shard whole from now on, also those that were verified before: one is damaged all the same."""
        self._distrusts = True

    def fault(self, stage: str, path: PurePath) -> str | None:
        """Return what is wrong with a shard as it lies in the store; None where nothing is, or where it is gone.

        Reads all of it, no copy of it on this machine, and moves nothing. Raises StoreError where it cannot be read.
        """
        file, shown = self.files.open(path, fresh=True), self.files.shown(path)
        if file is None:
            return None
        _, data = self._content(path, file)
        if path.name != f"part-{_hash(data)}.parquet":
            return "truncated or altered"
        try:
            with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as shard:
                schemas.is_current(stage, shard.schema_arrow, shown)
                shard.read()
        except (StoreError, pa.ArrowException) as err:  # written so, by whoever it was
            return " ".join(str(err).removeprefix(shown).split()).rstrip(".")
        return None

    def scan(self, stage: str, key: str, columns: Sequence[str] | None = None) -> Iterator[tuple[PurePath, pa.Table]]:
        """Yield every whole shard of a key with its path, one at a time.

        What is compacted meanwhile comes twice, never not at all: where a shard is gone, those that are new are read.
        """
        done: set[PurePath] = set()
        while shards := [shard for shard in self.listing(stage, key) if shard.path not in done]:
            done.update(shard.path for shard in shards)
            gone = False
            for start in range(0, len(shards), _AHEAD):
                ahead = {shard.path: self._kept(stage, shard, columns) for shard in shards[start : start + _AHEAD]}
                self.files.fetch([path for path, kept in ahead.items() if kept is None])
                for path, kept in ahead.items():
                    table = self.read(stage, path, columns) if kept is None else kept
                    if table is None:
                        gone = True
                    else:
                        yield path, table
            if not gone:
                return

    def _kept(self, stage: str, shard: Entry, columns: Sequence[str] | None) -> pa.Table | None:
        """Return columns of a shard as they were when it was last verified, where they are kept."""
        if self._distrusts or columns is None or not small_columns.applies(stage, shard.size, columns):
            return None
        return self._small.read(self._known_as(shard.path, shard), columns)

    def ids(self, stage: str, key: str, column: str = "image_id") -> dict[bytes, PurePath]:
        """Return every id that the whole shards of a key hold, with the (first) shard that holds it."""
        shard_of: dict[bytes, PurePath] = {}
        for path, table in self.scan(stage, key, [column]):
            for value in table[column].to_pylist():
                if value is not None:
                    shard_of.setdefault(value, path)
        return shard_of

    def _set_aside(self, path: PurePath) -> None:
        damaged = f"{self.files.shown(path)} is damaged (truncated or altered)"
        if self._look_only:
            notice("damaged-shard", f"{damaged}: a run will make its rows again.")
            return
        target = self.root / "damaged" / f"{path.parent.parent.name}-{path.parent.name}-{path.name}"
        if self.files.exists(target):  # damaged before, in another way: nothing that was set aside is replaced
            target = target.with_name(f"{target.name}-{secrets.token_hex(4)}")
        notice("damaged-shard", f"{damaged}: moved to {self.files.shown(target)}; its rows are made again.")
        self.damaged.append(path)
        self.files.move(path, target)


def is_shard(path: PurePath) -> bool:
    """Whether a file in a key's folder is a shard, by its name."""
    return path.name.startswith("part-") and path.name.endswith(".parquet")


def _hash(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _modified(file: BinaryIO) -> float | None:
    """Return the time of an open file, as listings do; None in memory."""
    return None if isinstance(file, io.BytesIO) else os.fstat(file.fileno()).st_mtime
