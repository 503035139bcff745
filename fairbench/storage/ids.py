"""Look ids up by the million and read shards by the thousand: batch by batch, never id by id."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench.storage.store import Store

BATCH_ROWS = 200_000
_BATCH_SHARDS = 256
_READERS = 2

UNOWNED = np.iinfo(np.int64).max
"""The owner of what no shard (or row) owns yet: larger than all their numbers, so that `keep_first` can compare."""
IntArray = NDArray[np.int64]


class IdIndex:
    """The positions of 16-byte ids in a list.

    A hash table without a hash function, as ids are hashes already: the ids are kept sorted, and an id's leading bits
    are the number of its bucket, with about one id per bucket. So a look-up takes one or two steps, where a binary
    search of three million ids takes 22, each of them a wait for memory.
    """

    def __init__(self, ids: pa.Array) -> None:
        """Raises ValueError where an id occurs twice."""
        halves = _halves(ids)
        self._order = np.argsort(halves[:, 0])
        self._first, self._second = halves[self._order, 0], halves[self._order, 1]
        # Eight bytes are enough to tell: different ids agree in them by chance only where there are billions.
        if (self._first[1:] == self._first[:-1]).any():
            raise ValueError("an id occurs twice")
        bits = max(1, len(ids).bit_length())
        self._shift = np.uint64(64 - bits)
        sizes = np.bincount((self._first >> self._shift).astype(np.int64), minlength=1 << bits)
        self._bucket_start = np.cumsum(sizes) - sizes

    def find(self, ids: pa.ChunkedArray | pa.Array) -> IntArray:
        """Return the position of each id in the list, shape (N,); -1 where it is not there."""
        halves, last = _halves(ids), len(self._first) - 1
        if last < 0:
            return np.full(len(halves), -1, dtype=np.int64)
        first_half = np.ascontiguousarray(halves[:, 0])  # a copy without gaps, as it is read several times
        # Begin where the id's bucket begins; an empty bucket at the end begins behind the last id.
        position = np.minimum(self._bucket_start[first_half >> self._shift], last)
        # Those that stand before a smaller id go on by one, until none does or the list ends.
        behind = np.flatnonzero(self._first[position] < first_half)
        while len(behind):
            behind = behind[position[behind] < last]
            position[behind] += 1
            behind = behind[self._first[position[behind]] < first_half[behind]]
        # Only now are all sixteen bytes compared: the id that stands there may be another one.
        is_same = (self._first[position] == first_half) & (self._second[position] == halves[:, 1])
        return np.where(is_same, self._order[position], -1)

    def contains(self, ids: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Return which ids are in the list, as a pyarrow bool array (N,) to filter with."""
        return pa.array(self.find(ids) >= 0)


def _halves(ids: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
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
    paths = store.shards(stage, key)
    waiting: deque[Future[tuple[pa.Table, IntArray] | None]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(paths), _BATCH_SHARDS):
            waiting.append(pool.submit(_joined, store, stage, paths[start : start + _BATCH_SHARDS], start, columns))
            if len(waiting) > _READERS:
                yield from _cut(waiting.popleft().result())
        while waiting:
            yield from _cut(waiting.popleft().result())


def _joined(
    store: Store, stage: str, paths: Sequence[PurePath], first_number: int, columns: Sequence[str]
) -> tuple[pa.Table, IntArray] | None:
    """Return the rows of shards `first_number`, `first_number` + 1, ... as one; None where all of them are damaged."""
    store.files.fetch(paths)
    tables = [store.read(stage, path, columns) for path in paths]
    whole = {number: table for number, table in enumerate(tables, first_number) if table is not None}
    if not whole:
        return None
    shard = np.repeat(list(whole), [len(table) for table in whole.values()]).astype(np.int64)
    return pa.concat_tables(whole.values()).combine_chunks(), shard


def _cut(joined: tuple[pa.Table, IntArray] | None) -> Iterator[tuple[pa.Table, IntArray]]:
    """Yield parts of at most BATCH_ROWS rows, as a shard can have any size."""
    if joined is not None:
        table, shard = joined
        for start in range(0, len(table), BATCH_ROWS):
            yield table.slice(start, BATCH_ROWS), shard[start : start + BATCH_ROWS]
