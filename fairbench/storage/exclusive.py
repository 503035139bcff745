"""One process at a time: by a lock in a folder, by claims in an object store, which knows no locks.

Who wants to be alone puts a claim and then looks for others: of two processes that come at once at least one sees the
other's, and gives way. A claim that nobody renewed for an hour is a killed process's.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Final

from fairbench.errors import StoreError
from fairbench.storage import atomic
from fairbench.storage.files import Files

_FOLDER: Final = "claims"
_RENEWED_AFTER: Final = atomic.STALE_SECONDS / 6
Renew = Callable[[], None]


@contextlib.contextmanager
def alone(files: Files, folder: PurePath) -> Iterator[Renew]:
    """Keep others from doing the same in a folder of the store; yields what is to be called before each removal.

    In a folder of this machine others wait. In an object store they are refused: raises StoreError, also where a
    process was away for so long that another one may have taken its place.
    """
    if files.folder is not None:
        atomic.make_folder(Path(folder))
        with atomic.locked(Path(folder)):
            yield lambda: None
        return
    claims = files.root / _FOLDER / "-".join(folder.relative_to(files.root).parts)
    own = claims / secrets.token_hex(8)
    put_at = time.monotonic()

    def renew() -> None:
        nonlocal put_at
        since = time.monotonic() - put_at
        if since > atomic.STALE_SECONDS / 2:
            raise StoreError(f"{files.shown(folder)} was left alone for too long: run the same command again.")
        if since > _RENEWED_AFTER:
            files.put(own, b"")
            put_at = time.monotonic()

    files.put(own, b"")
    try:
        _refuse_others(files, folder, claims, own)
        yield renew
    finally:
        files.remove(own)


def _refuse_others(files: Files, folder: PurePath, claims: PurePath, own: PurePath) -> None:
    listed = files.list(claims)
    now = max(entry.modified for entry in listed)  # by the server's clock: our own claim is the newest, or nearly so
    for other in listed:
        if other.path.name == own.name:
            continue
        if now - other.modified < atomic.STALE_SECONDS:
            raise StoreError(
                f"Another process is at work in {files.shown(folder)}: wait for it, or for an hour if it was killed."
            )
        files.remove(other.path)
