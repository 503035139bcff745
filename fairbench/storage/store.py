"""The run store: `STORE/<stage>/<key>/part-<blake2b of the file>.parquet`.

A shard's name is the hash of its bytes, so one look tells a whole file from a truncated or damaged one: no flipped
bit, in a page or in the footer, is ever read as data. Damaged shards are moved aside, named, and made again.
Resuming asks which ids the shards hold; nothing is judged by a folder's existence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.errors import StoreError, storage_errors
from fairbench.notices import notice
from fairbench.storage import atomic, schemas

LAYOUT = 1
_MARKER = "fairbench-store.json"


class Store:
    """A folder of shards. Reading needs no write permission; processes may share one store."""

    def __init__(self, root: Path, *, look_only: bool = False) -> None:
        """`look_only`: damaged shards are passed over, not moved. Raises StoreError for a newer store."""
        self.root, self._look_only = root, look_only
        self.damaged: list[Path] = []
        self._swept = False
        self._verified: set[tuple[str, int, int]] = set()
        marker = root / _MARKER
        if marker.is_file():
            try:
                layout = json.loads(marker.read_text())["layout"]
            except (OSError, ValueError, KeyError, TypeError) as err:
                raise StoreError(f"{marker} cannot be read ({err}): fix it or name another --store.") from err
            if not isinstance(layout, int) or layout > LAYOUT:
                raise StoreError(
                    f"{root} was written by a newer fairbench (store layout {layout}, this one reads up to {LAYOUT}): "
                    "upgrade fairbench or name another --store."
                )

    def create(self) -> None:
        """Make the store's folder and marker where they do not exist; remove what killed writers left in it.

        A temporary file is removed if it is an hour old and no process holds its lock.
        """
        with storage_errors(self.root):
            atomic.make_folder(self.root)
            if not (self.root / _MARKER).exists():
                atomic.write_text(self.root / _MARKER, json.dumps({"layout": LAYOUT}) + "\n")
            if not self._swept:  # once in a process: what killed ones left takes space, and is never read
                self._swept = True
                for folder in {p.parent for p in self.root.glob("*/*/.part-*.tmp")}:
                    atomic.remove_orphans(folder, re.compile(r"part-[0-9a-f]{32}\.parquet"))

    def write(self, stage: str, key: str, table: pa.Table) -> Path | None:
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
        atomic.write_bytes(path, data)
        return path

    def shards(self, stage: str, key: str) -> list[Path]:
        """Return the paths of all shards of a key, in a stable order."""
        return sorted(p for p in (self.root / stage / key).glob("part-*.parquet") if p.is_file())

    def read(self, stage: str, path: Path, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Return one verified shard, or None where it is damaged (then moved aside and listed in `damaged`)."""
        try:
            stat = path.stat()
            stamp = (str(path), stat.st_size, stat.st_mtime_ns)
            data = path.read_bytes()
        except FileNotFoundError:  # another process moved it aside
            return None
        except OSError as err:
            raise StoreError(f"{path} cannot be read ({err.strerror}): fix the disk or its permissions.") from err
        known = stamp in self._verified
        if not known:
            if path.name != f"part-{_hash(data)}.parquet":
                self._set_aside(path)
                return None
            self._verified.add(stamp)
        # Bytes whose hash was just computed need no second check.
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=known) as file:
            if schemas.is_current(stage, file.schema_arrow, str(path)):
                # Shards are small: handing each column to a thread costs more than decoding it.
                return file.read(list(columns) if columns else None, use_threads=False)
            whole = schemas.upgrade(stage, file.read(), str(path))
            return whole.select(list(columns)) if columns else whole

    def scan(self, stage: str, key: str, columns: Sequence[str] | None = None) -> Iterator[tuple[Path, pa.Table]]:
        """Yield every whole shard of a key with its path, one at a time."""
        for path in self.shards(stage, key):
            table = self.read(stage, path, columns)
            if table is not None:
                yield path, table

    def ids(self, stage: str, key: str, column: str = "image_id") -> dict[bytes, Path]:
        """Return every id that the whole shards of a key hold, with the (first) shard that holds it."""
        shard_of: dict[bytes, Path] = {}
        for path, table in self.scan(stage, key, [column]):
            for value in table[column].to_pylist():
                if value is not None:
                    shard_of.setdefault(value, path)
        return shard_of

    def _set_aside(self, path: Path) -> None:
        if self._look_only:
            notice("damaged-shard", f"{path} is damaged (truncated or altered): a run will make its rows again.")
            return
        target = self.root / "damaged" / f"{path.parent.parent.name}-{path.parent.name}-{path.name}"
        if target.exists():  # damaged before, in another way: nothing that was set aside is replaced
            target = target.with_name(f"{target.name}-{secrets.token_hex(4)}")
        notice(
            "damaged-shard", f"{path} is damaged (truncated or altered): moved to {target}; its rows are made again."
        )
        self.damaged.append(path)
        with storage_errors(target):
            atomic.make_folder(target.parent)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                path.replace(target)


def _hash(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
