"""Copies of an object store's shards on this machine: of a bounded size, shared by all stores and processes.

A shard is named by its content, so a copy is never out of date, and the store notices a damaged one by its name. The
shards that were not read for longest make room, whole files at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from pathlib import Path
from typing import BinaryIO, Final

from fairbench.errors import StoreError
from fairbench.storage import paths

SIZE: Final = "FAIRBENCH_SHARD_CACHE_GB"
DEFAULT_GB: Final = 10.0
_STEPS: Final = 16
"""What other processes add is looked at each time a process has added this part of the whole size."""
_LOCK: Final = threading.Lock()
log = logging.getLogger(__name__)


class ShardCache:
    """A folder of shards. It never fails: without it, a shard is fetched again."""

    def __init__(self, folder: Path, limit: int, *, warns: bool = True) -> None:
        """limit: how many bytes the shards take together; 0 keeps none. warns: once, where a copy cannot be kept.

        N processes can exceed the limit for a moment by N sixteenths.
        """
        self._folder, self._limit = folder, limit
        self._room, self._warned = 0, not warns

    def open(self, name: str) -> BinaryIO | None:
        """Open the copy of a shard, which is then the last to make room; None where there is no copy."""
        path = self._path(name)
        try:
            file = path.open("rb") if self._limit else None
        except OSError:
            file = None
        if file is None:
            return None
        with contextlib.suppress(OSError):  # it made room meanwhile: the open file can still be read
            # Modified when it was fetched, by which the store knows verified bytes; accessed now.
            os.utime(path, ns=(time.time_ns(), os.fstat(file.fileno()).st_mtime_ns))
        return file

    def holds(self, name: str) -> bool:
        """Whether there is a copy, or can be none."""
        return not self._limit or self._path(name).exists()

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Keep a copy of a shard, unless it alone is larger than all may be."""
        if len(data) > self._limit:
            return
        path = self._path(name)
        temp = path.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            self._make_room(len(data))
            path.parent.mkdir(parents=True, exist_ok=True)
            temp.write_bytes(data)  # no fsync: what a crash leaves of it does not have the hash of its name
            temp.replace(path)
        except OSError as err:
            with contextlib.suppress(OSError):
                temp.unlink()
            if not self._warned:
                self._warned = True
                log.warning(
                    "%s cannot keep shards (%s): they are fetched each time; fix it, or name another folder in "
                    "FAIRBENCH_CACHE.",
                    self._folder,
                    err.strerror,
                )

    def drop(self, name: str) -> None:
        """Remove the copy of a shard."""
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self._folder / name[-10:-8] / name  # 256 folders, by the last digits of the hash

    def _make_room(self, size: int) -> None:
        """Remove the copies that were not read for longest, so that `size` bytes more do not exceed the limit."""
        with _LOCK:
            if size > self._room:
                step = self._limit // _STEPS
                copies = sorted(self._copies())
                used = sum(copy_size for _, copy_size, _ in copies)
                goal = self._limit - size if used + size <= self._limit else max(0, self._limit - size - step)
                for _, copy_size, path in copies:
                    if used <= goal:
                        break
                    with contextlib.suppress(FileNotFoundError):  # another process was faster
                        path.unlink()
                    used -= copy_size
                self._room = size + min(step, self._limit - size - used)
            self._room -= size

    def _copies(self) -> list[tuple[int, int, Path]]:
        """Return when each copy was last read, its size, and its path; also of what killed processes left."""
        copies = []
        for path in self._folder.glob("*/*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                copies.append((stat.st_atime_ns, stat.st_size, path))
        return copies


def shard_cache() -> ShardCache:
    """Return the user's cache of shards. Raises StoreError where its size is none."""
    text = os.environ.get(SIZE) or str(DEFAULT_GB)
    try:
        limit = int(float(text) * 1e9)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise StoreError(f"{SIZE}={text}: name a size in GB, such as {DEFAULT_GB:g}, or 0 for no cache.")
    return ShardCache(paths.cache_dir() / "shards", limit)
