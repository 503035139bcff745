"""A store's files in an object store, through `pyarrow.fs`: S3 and what speaks its protocol, Google's, Azure's.

An object appears when all of it has arrived, so a killed writer leaves nothing that anybody sees. Shards are fetched
once and kept in a bounded cache (`cache`).
"""

from __future__ import annotations

import builtins
import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import parse_qsl

from pyarrow import fs

from fairbench.errors import StoreError
from fairbench.storage import cache, clouds
from fairbench.storage.files import Entry

if TYPE_CHECKING:
    from fairbench.storage.cache import ShardCache

_REBUILT: Final = {"region", "scheme", "endpoint_override"}
_PATIENCE: Final = {"connect_timeout": 10.0, "request_timeout": 60.0}
"""Seconds; pyarrow's own (1 and 3) are too few for a server that is busy."""
_FETCHERS: Final = 8
"""Threads that fetch shards: with more, shards of images would take gigabytes of memory."""


class ObjectFiles:
    """See `files.Files`. Paths are BUCKET/PREFIX/..., as pyarrow writes them."""

    folder: None = None

    def __init__(self, system: fs.FileSystem, root: PurePosixPath, scheme: str, copies: ShardCache) -> None:
        self.root = root
        self._system, self._scheme, self._copies = system, scheme, copies

    @classmethod
    def of_url(cls, url: str) -> ObjectFiles:
        """Open BUCKET/PREFIX of a URL. Raises StoreError where it names none, or holds a secret."""
        parts = clouds.checked(url)
        shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        with clouds.sentences(shown):
            system, path = fs.FileSystem.from_uri(url)
            options = dict(parse_qsl(parts.query))
            if parts.scheme == "s3" and set(options) <= _REBUILT:
                # A small object is then put by one request instead of three.
                options["region"] = system.region
                system = fs.S3FileSystem(**options, **_PATIENCE, allow_delayed_open=True)
        if not path:
            raise StoreError(f"The store {shown} names no bucket: write {parts.scheme}://BUCKET/PREFIX.")
        files = cls(system, PurePosixPath(path), parts.scheme, cache.shard_cache())
        files._refuse_absent_bucket()
        return files

    def _refuse_absent_bucket(self) -> None:
        """Reading from a bucket that is not there looks like an empty one."""
        bucket = self.root.parts[0]
        try:
            kind = self._system.get_file_info(bucket).type
        except OSError:  # credentials may be good for a part of it only
            return
        if kind == fs.FileType.NotFound:
            raise StoreError(f"There is no bucket {self._scheme}://{bucket}: make it, or fix the name in --store.")

    def list(self, folder: PurePath, *, deep: bool = False) -> builtins.list[Entry]:
        """Return the objects below a prefix, page by page."""
        selector = fs.FileSelector(str(folder), allow_not_found=True, recursive=deep)
        with clouds.sentences(self.shown(folder)):
            infos = self._system.get_file_info(selector)
        now = time.time_ns()
        entries = [
            Entry(PurePosixPath(info.path), info.size, (info.mtime_ns or now) / 1e9)
            for info in infos
            if info.type == fs.FileType.File
        ]
        return sorted(entries, key=lambda entry: str(entry.path))

    def open(self, path: PurePath, *, fresh: bool = False) -> BinaryIO | None:
        """Open the copy of a shard, which is fetched where there is none."""
        if fresh:
            self._copies.drop(path.name)
        elif (copy := self._copies.open(path.name)) is not None:
            return copy
        data = self.read(path) if fresh else self._fetch(path)
        return None if data is None else io.BytesIO(data)

    def fetch(self, paths: Sequence[PurePath]) -> None:
        """Make copies of the shards that have none: a request is mostly waiting."""
        missing = [path for path in paths if not self._copies.holds(path.name)]
        with ThreadPoolExecutor(_FETCHERS) as pool:
            list(pool.map(self._copy, missing))

    def _copy(self, path: PurePath) -> None:
        self._fetch(path)  # its bytes are not kept in memory

    def _fetch(self, path: PurePath) -> bytes | None:
        data = self.read(path)
        if data is not None:
            self._copies.add(path.name, data)
        return data

    def read(self, path: PurePath) -> bytes | None:
        """Fetch an object."""
        with clouds.sentences(self.shown(path)):
            try:
                with self._system.open_input_file(str(path)) as file:
                    data: bytes = file.read()
            except FileNotFoundError:
                return None
        return data

    def put(self, path: PurePath, data: bytes | memoryview, *, durable: bool = True) -> None:
        """Put an object; it is there when this returns."""
        with clouds.sentences(self.shown(path)), self._system.open_output_stream(str(path)) as stream:
            stream.write(data)
        if path.suffix == ".parquet":
            self._copies.add(path.name, data)

    def remove(self, path: PurePath) -> None:
        """Delete an object.

        pyarrow then makes an empty object that stands for the folder. A server that refuses its name, or credentials
        that may not put it, raise an error though the object is gone.
        """
        self._copies.drop(path.name)
        try:
            self._system.delete_file(str(path))
        except FileNotFoundError:
            return
        except OSError:
            if self.exists(path):
                with clouds.sentences(self.shown(path)):
                    raise

    def move(self, path: PurePath, target: PurePath) -> None:
        """Copy an object in the object store, then delete it."""
        with clouds.sentences(self.shown(path)):
            try:
                self._system.copy_file(str(path), str(target))
            except OSError:
                if self.exists(path):
                    raise
                return  # another process was faster
        self.remove(path)

    def exists(self, path: PurePath) -> bool:
        """Whether there is such an object."""
        with clouds.sentences(self.shown(path)):
            return bool(self._system.get_file_info(str(path)).type == fs.FileType.File)

    def sweep(self) -> None:
        """Do nothing: killed writers leave no objects, and a bucket's rules remove parts of uploads."""

    def shown(self, path: PurePath) -> str:
        """Return the URL of a path, without the options of the store's."""
        return f"{self._scheme}://{path}"
