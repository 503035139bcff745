"""A store's files in a folder: of this machine, or of a disk that several machines share."""

from __future__ import annotations

import builtins
import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, Final

from fairbench.errors import StoreError, storage_errors
from fairbench.storage import atomic
from fairbench.storage.files import Entry

_SHARD: Final = re.compile(r"part-[0-9a-f]{32}\.parquet")


class LocalFiles:
    """See `files.Files`."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.root = folder

    def list(self, folder: PurePath, *, deep: bool = False) -> builtins.list[Entry]:
        """Return the files in a folder; links are followed."""
        here, entries, folders = Path(folder), [], []
        try:
            with os.scandir(here) as scanned:
                found = sorted(scanned, key=lambda entry: entry.name)
            for entry in found:
                with contextlib.suppress(FileNotFoundError):  # another process moved it aside
                    if entry.is_file():
                        stat = entry.stat()
                        entries.append(Entry(here / entry.name, stat.st_size, stat.st_mtime))
                    elif deep and entry.is_dir():
                        folders.append(here / entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as err:
            raise StoreError(f"{folder} cannot be listed ({err.strerror}): fix the disk or its permissions.") from err
        for below in folders:
            entries += self.list(below, deep=True)
        return sorted(entries, key=lambda entry: str(entry.path)) if folders else entries

    def open(self, path: PurePath, *, fresh: bool = False) -> BinaryIO | None:
        """Open a file."""
        try:
            return Path(path).open("rb")
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StoreError(f"{path} cannot be read ({err.strerror}): fix the disk or its permissions.") from err

    def fetch(self, paths: Sequence[PurePath]) -> None:
        """Do nothing: they are here."""

    def read(self, path: PurePath) -> bytes | None:
        """Return the bytes of a file."""
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            raise StoreError(f"{path} cannot be read ({err.strerror}): fix the disk or its permissions.") from err

    def put(self, path: PurePath, data: bytes | memoryview, *, durable: bool = True) -> None:
        """Write a file through a temporary name; durable=False: under its own name at once.

        The temporary name and the rename cost a second fsync, of the folder.
        """
        target = Path(path)
        if durable:
            atomic.write_bytes(target, data)
            return
        with storage_errors(target):
            atomic.make_folder(target.parent)
            with target.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    def remove(self, path: PurePath) -> None:
        """Remove a file. Its folder stays, since other processes may write into it."""
        with storage_errors(Path(path)):
            Path(path).unlink(missing_ok=True)

    def move(self, path: PurePath, target: PurePath) -> None:
        """Rename a file."""
        with storage_errors(Path(target)):
            atomic.make_folder(Path(target).parent)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                Path(path).replace(target)

    def exists(self, path: PurePath) -> bool:
        """Whether something has this name."""
        return Path(path).exists()

    def sweep(self) -> None:
        """Remove temporary files that are an hour old and that no process holds."""
        with storage_errors(self.root):
            for folder in {p.parent for p in self.root.glob("*/*/.part-*.tmp")}:
                atomic.remove_orphans(folder, _SHARD)

    def shown(self, path: PurePath) -> str:
        """Return the path."""
        return str(path)
