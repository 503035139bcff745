"""Folders that a user names to write into: what fairbench did not write is never changed there, and never removed.

A command writes only into a folder that is new, empty, or holds its own earlier result, which it knows by one file (a
run by run.json). `replacing` writes a result beside its place and then puts it there: all of it, or nothing.

How it gets there: the finished files lie in FOLDER/.fairbench-new-<random>, with a list of what is to be moved and
what to be removed. Renaming that folder to FOLDER/.fairbench-pending decides. Then each file is moved to its place. A
process that is killed before the rename leaves the old result; one that is killed after it leaves the rest to `finish`,
which every reader and writer calls first. Processes take turns by a lock on FOLDER, and the last one's result stands.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from fairbench.errors import FairbenchError, StoreError, storage_errors
from fairbench.storage import atomic
from fairbench.storage.kinds import Kind, Test

PENDING: Final = ".fairbench-pending"
LIST: Final = ".files.json"
_NEW: Final = re.compile(r"\.fairbench-new-[0-9a-f]{8}")
_ATTEMPTS: Final = 100
"""How often a folder is made again that others, who fail, remove."""
_MAX_NAMED: Final = 3
"""How many strange files an error names."""


def check(folder: Path, kind: Kind, *, store: Path | None = None, option: str = "--out") -> None:
    """Refuse a folder that a command must not, or cannot, write into; leaves nothing behind.

    store: the run store, which may lie in the folder, but must not hold it. Raises FairbenchError.
    """
    with storage_errors(folder):
        real = Path(os.path.realpath(folder))
        if store is not None and real.is_relative_to(os.path.realpath(store)):
            raise FairbenchError(f"{option} {folder} lies inside the store {store}: name a folder outside of it.")
        with suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISDIR(real.stat().st_mode):
                raise FairbenchError(f"{option} {folder} is a file: name a folder.")
        _try_to_write(real)
        if strange := _strange(real, kind, store):
            named = ", ".join(strange[:_MAX_NAMED]) + (", ..." if len(strange) > _MAX_NAMED else "")
            raise FairbenchError(
                f"{option} {folder} holds files that are not {kind.what} ({named}): name a folder that is new, "
                f"empty, or holds {kind.what}."
            )


def check_file(path: Path, what: str, is_ours: Test, *, option: str = "--out") -> None:
    """Refuse to replace a file that fairbench did not write, or that cannot be written. Raises FairbenchError."""
    with storage_errors(path):
        if path.is_dir():
            raise FairbenchError(f"{option} {path} is a folder: name a file.")
        if path.exists() and not (path.is_file() and (path.stat().st_size == 0 or is_ours(path))):
            raise FairbenchError(f"{option} {path} is a file that is not {what}: name a new file.")
        _try_to_write(Path(os.path.realpath(path)).parent)


def _strange(folder: Path, kind: Kind, store: Path | None) -> list[str]:
    """Return the names in a folder that holds no result of this kind, but for the store's.

    What killed processes left is not named; nothing is looked at while another process puts files in place there.
    """
    real_store = None if store is None else Path(os.path.realpath(store))
    inside = real_store is not None and real_store.is_relative_to(folder)
    name_of_store = real_store.relative_to(folder).parts[0] if real_store is not None and inside else None
    try:
        with atomic.locked(folder):
            _finish(folder)
            if kind.holds(folder):
                return []
            return sorted(p.name for p in folder.iterdir() if p.name != name_of_store and not _NEW.fullmatch(p.name))
    except FileNotFoundError:  # it is not there, or no longer
        return []


def _try_to_write(folder: Path) -> None:
    """Make and remove, under a name of its own, what lies between `folder` and the last folder above it that exists.

    `folder` itself is not made: another process that makes it meanwhile would lose it when it is removed here.
    """
    above = folder
    while not os.path.lexists(above):
        above = above.parent
    probe = above / f".fairbench-new-{secrets.token_hex(4)}"
    try:
        (probe / folder.relative_to(above)).mkdir(parents=True)
    finally:
        shutil.rmtree(probe, ignore_errors=True)


@contextmanager
def replacing(folder: Path, kind: Kind, before: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield an empty folder to write a result into; at the end its files stand in `folder`, in place of the old ones.

    before: called with the real path of `folder` when no other process writes there and nothing in it has changed yet;
    it may still write into the new folder. Files that are not of this kind stay, and none of them is replaced by one of
    the same name in a folder that holds no result of this kind.
    Raises FairbenchError, StoreError; then `folder` is as it was.
    """
    real = Path(os.path.realpath(folder))
    existed = real.is_dir()
    with storage_errors(folder):
        fresh = _make_fresh(real)
    handle = os.open(fresh, os.O_RDONLY)
    try:
        atomic.lock(handle, wait=False)
        yield fresh
        with storage_errors(folder), atomic.locked(real):
            _finish(real)
            if before is not None:
                before(real)
            new = files(fresh)
            _refuse_obstacles(real, folder, kind, new)
            stale = [f for f in files(real, kind.files) if f not in new] if kind.files else []
            atomic.write_text(fresh / LIST, json.dumps({"files": new, "stale": stale}))
            fresh.rename(real / PENDING)
            atomic.sync_folder(real)
            _finish(real)
    finally:
        os.close(handle)
        shutil.rmtree(fresh, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                real.rmdir()  # only if it is empty: nothing was put there


def _make_fresh(real: Path) -> Path:
    """Make an empty folder in `real`; what killed processes left there is put in place or removed first.

    Another process that fails removes `real` where it is empty (see `replacing`), which may be just before this one's
    folder is made in it: it is made again.
    """
    fresh = real / f".fairbench-new-{secrets.token_hex(4)}"
    for attempt in range(_ATTEMPTS):
        try:
            atomic.make_folder(real)
            with atomic.locked(real):
                _finish(real)
                _remove_abandoned(real)
                fresh.mkdir()
        except (FileNotFoundError, FileExistsError):  # removed and made again in between, by others
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    return fresh


def finish(folder: Path) -> None:
    """Put in place what a killed process had decided on. Raises StoreError where the folder cannot be written."""
    if (folder / PENDING).is_dir():
        with storage_errors(folder), atomic.locked(folder):
            _finish(folder)


def _finish(folder: Path) -> None:
    pending = folder / PENDING
    if not pending.is_dir():
        return
    listed = pending / LIST
    if listed.exists():
        decided: dict[str, list[str]] = json.loads(listed.read_text(encoding="utf-8"))
        for name in (*decided["stale"], *decided["files"]):
            _refuse_outside(folder, name)  # anybody may have made the folder
        for name in decided["stale"]:
            (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # folders that are empty now go, too
                for above in PurePosixPath(name).parents[:-1]:
                    (folder / above).rmdir()
        touched = {folder}
        for name in decided["files"]:
            if (pending / name).exists():
                atomic.make_folder((folder / name).parent)
                (pending / name).replace(folder / name)
                touched.add((folder / name).parent)
        for changed in touched:
            atomic.sync_folder(changed)
        listed.unlink()
    shutil.rmtree(pending)
    atomic.sync_folder(folder)


def _refuse_outside(folder: Path, name: str) -> None:
    parts = PurePosixPath(name)
    linked = any((folder / above).is_symlink() for above in parts.parents if str(above) != ".")
    if parts.is_absolute() or ".." in parts.parts or linked:
        raise StoreError(f"{folder / PENDING} names {name}, which lies outside of the folder: remove {PENDING}.")


def files(folder: Path, pattern: str = ".*") -> list[str]:
    """Return the relative paths (with /) of the files below a folder that match; links to folders are not followed."""
    names = []
    for above, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f != PENDING and not _NEW.fullmatch(f))
        relative = PurePosixPath(Path(above).relative_to(folder).as_posix())
        names += [str(relative / file) for file in files]
    return sorted(name for name in names if re.fullmatch(pattern, name))


def _refuse_obstacles(real: Path, folder: Path, kind: Kind, new: list[str]) -> None:
    """Refuse where a file to be written would replace something that is not ours."""
    ours = kind.holds(real)
    for name in new:
        target = real / name
        above = next((p for p in target.parents if p != real and p.is_relative_to(real) and p.is_symlink()), None)
        if above is not None:
            raise FairbenchError(f"{folder}: {above} is a link to another folder; name a folder without such a link.")
        if target.is_dir() or (not ours and os.path.lexists(target)):
            raise FairbenchError(
                f"{folder}: {name} is there already and is not {kind.what}'s; name a folder that is new or empty."
            )


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes had begun to write: an hour old, and held by nobody."""
    for path in folder.iterdir():
        if _NEW.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and atomic.abandoned(path):
            shutil.rmtree(path, ignore_errors=True)
