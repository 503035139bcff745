"""Reading images back: an index without pixels, and a stream of decoded images with a bounded read-ahead."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath

import pyarrow as pa

from fairbench import threads
from fairbench.errors import ImageError, StoreError
from fairbench.storage import pixels
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, RgbImage

READ_AHEAD = 16
"""Images that are decoded while others are worked on, at most."""
DECODERS = 2
"""Threads that decode images, at most."""
_INDEX = ["image_id", "status", "error", "sha256"]


class DamagedInUse(StoreError):
    """A shard of images that counted as whole is damaged, and set aside: the same command makes its images again."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """Where an image of a run is: the request, its status, and the shard that holds it."""

    request: ImageRequest
    status: str
    error: str | None
    sha256: str | None
    shard: PurePath


def index(store: Store, key: str, requests: Sequence[ImageRequest]) -> list[ImageRow]:
    """Return the rows of all requests that have been answered, in the order of `requests`."""
    return rows_of(store.scan("images", key, _INDEX), requests)


def rows_of(shards: Iterable[tuple[PurePath, pa.Table]], requests: Sequence[ImageRequest]) -> list[ImageRow]:
    """Return the rows of the requests that these shards answer, in the order of `requests`."""
    index_of = {r.image_id: i for i, r in enumerate(requests)}
    rows: list[ImageRow | None] = [None] * len(requests)
    for path, table in shards:
        ids, *rest = (table[c].to_pylist() for c in _INDEX)
        for image_id, status, error, sha256 in zip(ids, *rest, strict=True):
            i = index_of.get(image_id)
            if i is not None and rows[i] is None:  # the first shard that holds an image counts
                rows[i] = ImageRow(requests[i], sys.intern(status), error, sha256, path)
    return [row for row in rows if row is not None]


def by_shard(rows: Iterable[ImageRow]) -> list[ImageRow]:
    """Return rows in the order in which their shards come up first, so that a reader needs each shard once."""
    order: dict[PurePath, list[ImageRow]] = {}
    for row in rows:
        order.setdefault(row.shard, []).append(row)
    return [row for of_shard in order.values() for row in of_shard]


class ImageReader:
    """Streams decoded images. Holds two shards and READ_AHEAD decoded images at most."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shards: OrderedDict[PurePath, dict[bytes, pa.Scalar]] = OrderedDict()
        self._moved: dict[bytes, PurePath] = {}

    def stream(self, rows: Iterable[ImageRow]) -> Iterator[tuple[ImageRow, RgbImage | ImageError]]:
        """Yield each row with its pixels, or with the reason why they cannot be had, in order."""
        waiting: deque[tuple[ImageRow, Future[RgbImage | ImageError]]] = deque()
        with ThreadPoolExecutor(threads.count(limit=DECODERS)) as pool:
            for row in rows:
                data = None if row.request.path else self._bytes(row)
                waiting.append((row, pool.submit(_decode, row, data)))
                if len(waiting) >= READ_AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()

    def _bytes(self, row: ImageRow) -> bytes:
        image_id = row.request.image_id
        shard = self._moved.get(image_id, row.shard)
        if shard not in self._shards and not self._load(shard):
            # It was compacted since, or damaged.
            self._moved.update(self._store.ids("images", row.shard.parent.name))
            shard = self._moved.get(image_id, row.shard)
            if not self._load(shard):
                raise DamagedInUse(f"{row.shard} was damaged while it was in use: run the same command again.")
        data: bytes = self._shards[shard][image_id]["bytes"].as_py()
        return data

    def _load(self, shard: PurePath) -> bool:
        table = self._store.read("images", shard, ["image_id", "image"])
        if table is None:
            return False
        self._shards[shard] = dict(zip(table["image_id"].to_pylist(), table["image"], strict=True))
        if len(self._shards) > 2:
            self._shards.popitem(last=False)
        return True


def _decode(row: ImageRow, data: bytes | None) -> RgbImage | ImageError:
    """Return pixels, or the error as a value: a thread must not lose it."""
    try:
        if data is not None:
            return pixels.decode(data, f"stored image {row.request.image_id.hex()}")
        path = Path(str(row.request.path))
        content, sha256 = pixels.read(path)
        if sha256 != row.sha256:
            return ImageError(f"{path} changed while it was in use: run the same command again.")
        return pixels.decode(content, str(path))
    except ImageError as err:
        return err
