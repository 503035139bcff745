"""Files that are either there, whole, or not there at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from fairbench.errors import storage_errors


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file through a temporary name, fsync and rename. Raises StoreError; leaves nothing half-written."""
    path = Path(os.path.realpath(path))  # a link's target is written, the link stays
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temp.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            temp.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
