"""The seam between a store and the place of its files: a folder (`local`), or an object store (`objects`).

Paths begin with `root`. A file is there, whole, or not there at all: what is put under a name that is the hash of its
bytes needs no rename.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias

StoreName: TypeAlias = str | os.PathLike[str]
"""How a user names a store: a folder, or a URL such as s3://bucket/prefix."""


class Entry(NamedTuple):
    """A file in a listing. size: in bytes; modified: seconds since 1970, now where a server does not say."""

    path: PurePath
    size: int
    modified: float


class Files(Protocol):
    """What a store does with files. Every method raises StoreError, in one sentence, where the place refuses it."""

    @property
    def root(self) -> PurePath:
        """The folder that holds the store's marker and the folders of its stages."""

    @property
    def folder(self) -> Path | None:
        """The root as a folder of this machine; None in an object store."""

    def list(self, folder: PurePath, *, deep: bool = False) -> list[Entry]:
        """Return the files in a folder, sorted by path; deep: those in its folders, too. Empty if it is not there."""

    def open(self, path: PurePath, *, fresh: bool = False) -> BinaryIO | None:
        """Open a shard; None where it is not there. fresh: its own bytes, not those of a copy on this machine."""

    def fetch(self, paths: Sequence[PurePath]) -> None:
        """Bring shards to this machine, several at once, where `open` would bring them one by one."""

    def read(self, path: PurePath) -> bytes | None:
        """Return the bytes of a small file that may change; None where it is not there."""

    def put(self, path: PurePath, data: bytes | memoryview, *, durable: bool = True) -> None:
        """Write a file. durable=False: after a kill a part of it may be there, which its reader must notice."""

    def remove(self, path: PurePath) -> None:
        """Remove a file; it may be gone already."""

    def move(self, path: PurePath, target: PurePath) -> None:
        """Give a file another name; it may be gone already. In an object store: a copy, then the removal."""

    def exists(self, path: PurePath) -> bool:
        """Whether a file has this name."""

    def sweep(self) -> None:
        """Remove what killed writers left in the stages' folders, where they leave anything."""

    def shown(self, path: PurePath) -> str:
        """Return a path as messages name it."""
