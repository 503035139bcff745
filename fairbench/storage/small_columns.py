"""What shards of images say beside the pixels, kept on this machine: asking which images are there reads none.

A shard's name is the hash of its bytes, so that its columns follow from its name. They are kept when this machine has
written the shard or verified all of it, under the shard's name, size and time: what was changed since is not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from fairbench.storage import paths, schemas
from fairbench.storage.cache import ShardCache

STAGE: Final = "images"
NAMES: Final = [name for name in schemas.schema(STAGE).names if name != "image"]
MIN_BYTES: Final = 1 << 18
"""A shard that is smaller is hashed in about the time that opening a file takes."""
_LIMIT: Final = 1_000_000_000
"""Bytes that all of them take together, at most: about 8 kB for a shard of 16 images."""
_DIGEST: Final = 16


class SmallColumns:
    """Small columns of shards. It never fails: without them, the shard is read."""

    def __init__(self) -> None:
        try:
            self._copies = ShardCache(paths.cache_dir() / "columns", _LIMIT, warns=False)
        except RuntimeError:  # a user without a home folder
            self._copies = ShardCache(Path(), 0)

    def read(self, name: str, columns: Sequence[str]) -> pa.Table | None:
        """Return these columns of a shard; None where they are not kept, or not as they were written."""
        file = self._copies.open(name)
        if file is None:
            return None
        try:
            with file:
                digest, data = file.read(_DIGEST), file.read()
            if digest != _digest(data):
                self._copies.drop(name)
                return None
            table = pa.ipc.open_stream(data).read_all()
        except (OSError, pa.ArrowException):  # a newer pyarrow may have written it
            return None
        is_current = table.schema.metadata == schemas.schema(STAGE).metadata  # another version may share the folder
        return table.select(list(columns)) if is_current else None

    def keep(self, name: str, table: pa.Table) -> None:
        """Keep the columns NAMES of a shard that was verified."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        data = sink.getvalue().to_pybytes()
        self._copies.add(name, _digest(data) + data)

    def drop(self, name: str) -> None:
        """Forget a shard."""
        self._copies.drop(name)


def applies(stage: str, size: int, columns: Sequence[str] | None) -> bool:
    """Whether the small columns are all that is asked for of a shard, and reading them alone gains anything."""
    return stage == STAGE and size >= MIN_BYTES and columns is not None and set(columns) <= set(NAMES)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
