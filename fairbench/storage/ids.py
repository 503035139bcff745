"""Look ids up by the million and read shards by the thousand: batch by batch, never id by id."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench.storage import schemas
from fairbench.storage.files import Entry
from fairbench.storage.store import Store

BATCH_ROWS = 200_000
_BATCH_SHARDS, _BATCH_BYTES = 256, 8 << 20
_READERS = 2

UNOWNED = np.iinfo(np.int64).max
"""The owner of what no shard (or row) owns yet: larger than all their numbers, so that `keep_first` can compare."""
IntArray = NDArray[np.int64]
_Places = NDArray[np.int32] | IntArray
"""Places in a list of up to two billion take half the room."""


class IdIndex:
    """The positions of 16-byte ids in a list.

    A hash table without a hash function, as ids are hashes already: the ids are kept sorted, and an id's leading bits
    are the number of its bucket, with about one id per bucket. So a look-up takes one or two steps, where a binary
    search of three million ids takes 22, each of them a wait for memory.
    """

    def __init__(self, ids: pa.Array) -> None:
        """Raises ValueError where an id occurs twice."""
        pairs = halves(ids)
        self._order: _Places = _narrowed(np.argsort(pairs[:, 0]))
        self._first, self._second = pairs[self._order, 0], pairs[self._order, 1]
        # Eight bytes are enough to tell: different ids agree in them by chance only where there are billions.
        if (self._first[1:] == self._first[:-1]).any():
            raise ValueError("an id occurs twice")
        bits = max(1, len(ids).bit_length())
        self._shift = np.uint64(64 - bits)
        sizes = np.bincount((self._first >> self._shift).astype(np.int64), minlength=1 << bits)
        self._bucket_start: _Places = _narrowed(np.cumsum(sizes) - sizes)

    def find(self, ids: pa.ChunkedArray | pa.Array) -> IntArray:
        """Return the position of each id in the list, shape (N,); -1 where it is not there."""
        pairs, last = halves(ids), len(self._first) - 1
        if last < 0:
            return np.full(len(pairs), -1, dtype=np.int64)
        first_half = np.ascontiguousarray(pairs[:, 0])  # a copy without gaps, as it is read several times
        # Begin where the id's bucket begins; an empty bucket at the end begins behind the last id.
        position = np.minimum(self._bucket_start[first_half >> self._shift], last)
        # Those that stand before a smaller id go on by one, until none does or the list ends.
        behind = np.flatnonzero(self._first[position] < first_half)
        while len(behind):
            behind = behind[position[behind] < last]
            position[behind] += 1
            behind = behind[self._first[position[behind]] < first_half[behind]]
        # Only now are all sixteen bytes compared: the id that stands there may be another one.
        is_same = (self._first[position] == first_half) & (self._second[position] == pairs[:, 1])
        return np.where(is_same, self._order[position], -1).astype(np.int64)

    def contains(self, ids: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Return which ids are in the list, as a pyarrow bool array (N,) to filter with."""
        return pa.array(self.find(ids) >= 0)


def id_array(ids: Iterable[bytes]) -> pa.Array:
    """Return ids as a pyarrow array, in a tenth of the time that pyarrow takes for a list of them."""
    data = b"".join(ids)
    return pa.Array.from_buffers(schemas.ID, len(data) // schemas.ID.byte_width, [None, pa.py_buffer(data)])


def _narrowed(places: IntArray) -> _Places:
    return places.astype(np.int32) if len(places) < np.iinfo(np.int32).max else places


def halves(ids: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
    """Return 16-byte ids as pairs of 64-bit numbers, shape (N, 2), without a copy where they lie in one chunk."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if not len(array):
        return np.zeros((0, 2), dtype=np.uint64)
    pairs = np.frombuffer(array.buffers()[1], dtype=np.uint64).reshape(-1, 2)
    return pairs[array.offset : array.offset + len(array)]


def keep_first(owner: IntArray, item: IntArray, number: IntArray) -> NDArray[np.bool_]:
    """Keep each item from the lowest-numbered shard (or row) that holds it; return which entries are kept, shape (N,).

    owner: (M,), the lowest number so far that holds each item, UNOWNED at first; changed in place. item: (N,), in
    0..M - 1. number: (N,), of the shard (or row); it never falls from call to call, so that what is kept stays kept.
    """
    np.minimum.at(owner, item, number)
    return np.asarray(owner[item] == number)


def batches(store: Store, stage: str, key: str, columns: Sequence[str]) -> Iterator[tuple[pa.Table, IntArray]]:
    """Yield the rows of all whole shards of a key in batches of at most BATCH_ROWS, each in one chunk.

    With each batch comes the number of each row's shard. A pyarrow call costs as much for ten rows as for many. While
    the caller works on one batch, threads decode the next.
    """
    done: set[PurePath] = set()
    while shards := [shard for shard in store.listing(stage, key) if shard.path not in done]:
        first_number, whole = len(done), 0
        done.update(shard.path for shard in shards)
        for joined in _read_ahead(store, stage, shards, first_number, columns):
            whole += joined.shards
            yield from _cut(joined)
        if whole == len(shards):  # else what is gone may have been compacted: its rows are in new shards
            return


def _read_ahead(
    store: Store, stage: str, shards: Sequence[Entry], first_number: int, columns: Sequence[str]
) -> Iterator[_Joined]:
    """Yield the rows of shards, several shards at a time, while threads decode the next ones."""
    waiting: deque[Future[_Joined]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        for paths in _groups(shards):
            waiting.append(pool.submit(_joined, store, stage, paths, first_number, columns))
            first_number += len(paths)
            if len(waiting) > _READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _groups(shards: Sequence[Entry]) -> Iterator[list[PurePath]]:
    """Yield shards that are read together: few large ones, or many small ones."""
    group: list[PurePath] = []
    size = 0
    for shard in shards:
        if group and (size + shard.size > _BATCH_BYTES or len(group) == _BATCH_SHARDS):
            yield group
            group, size = [], 0
        group.append(shard.path)
        size += shard.size
    if group:
        yield group


class _Joined(NamedTuple):
    """The rows of several shards, the number of each row's shard, and how many of the shards are whole."""

    table: pa.Table | None
    shard: IntArray
    shards: int


def _joined(store: Store, stage: str, paths: Sequence[PurePath], first_number: int, columns: Sequence[str]) -> _Joined:
    """Return the rows of shards `first_number`, `first_number` + 1, ... as one table; None where none is whole."""
    store.files.fetch(paths)
    tables = [store.read(stage, path, columns) for path in paths]
    whole = {number: table for number, table in enumerate(tables, first_number) if table is not None}
    shard = np.repeat(list(whole), [len(table) for table in whole.values()]).astype(np.int64)
    return _Joined(pa.concat_tables(whole.values()).combine_chunks() if whole else None, shard, len(whole))


def _cut(joined: _Joined) -> Iterator[tuple[pa.Table, IntArray]]:
    """Yield parts of at most BATCH_ROWS rows, as a shard can have any size."""
    if joined.table is not None:
        for start in range(0, len(joined.table), BATCH_ROWS):
            yield joined.table.slice(start, BATCH_ROWS), joined.shard[start : start + BATCH_ROWS]
