"""Files that are either there, whole, or not there at all."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fairbench.errors import storage_errors
from fairbench.storage.cells import guarded

TEMPORARY: Final = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")
"""The name under which a file is written, before it is renamed to `name`."""
STALE_SECONDS: Final = 3600.0
"""A temporary file that is younger is never taken for a killed writer's: its writer may be on another machine."""


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file through a temporary name, fsync and rename. Raises StoreError; leaves nothing half-written."""
    write_chunks(path, (data,))


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """`write_bytes` of data that comes in pieces; where making them raises, nothing is left.

    While it is written the temporary file is locked, so that `remove_orphans` can tell it from a killed writer's.
    """
    path = Path(os.path.realpath(path))  # a link's target is written, the link stays
    with storage_errors(path):
        make_folder(path.parent)
        temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temp.open("wb") as out:
                lock(out.fileno(), wait=False)
                for chunk in chunks:
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
                temp.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows, the first of which is mostly the header, as CSV; None is an empty field.

    Text that a spreadsheet would take for a formula is written as `cells.guarded` does.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(guarded, row) for row in rows)
    return text.getvalue()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; each is on the disk, by its name in the folder above, before it is used."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names (after a rename in it, or a new file) to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file or folder until it is closed; return whether that was possible.

    A kill frees the lock. False: somebody else holds it (`wait=False`), or the file system knows no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder waiting; where there are no locks, go on without."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def abandoned(path: Path) -> bool:
    """Whether the process that wrote `path` is gone: nobody holds its lock, and it is older than STALE_SECONDS."""
    try:
        if time.time() - path.stat().st_mtime < STALE_SECONDS:
            return False
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # its writer was faster, or it is not ours to read
        return False
    try:
        return lock(handle, wait=False)
    finally:
        os.close(handle)


def remove_orphans(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """Remove what killed writers of files called `name` left in a folder; return what was removed.

    Only files whose names are those of `write_bytes` for such a file, that no process holds and that are an hour old.
    """
    removed = []
    for path in sorted(folder.glob(".*.tmp")):
        temporary = TEMPORARY.fullmatch(path.name)
        if temporary and name.fullmatch(temporary["name"]) and not path.is_symlink() and abandoned(path):
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed
