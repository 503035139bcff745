"""Looking ids up by the million, and reading shards by the thousand: work a batch at a time, never an id at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench.storage.store import Store

BATCH_ROWS = 200_000
_BATCH_SHARDS = 256
_READERS = 2

NOBODY = np.iinfo(np.int64).max
"""The owner of what nobody has claimed yet, see `first_come`."""
IntArray = NDArray[np.int64]


class IdIndex:
    """The places of 16-byte ids in a list. Ids are hashes: their first eight bytes say where, all sixteen say whether.

    The list is sorted. The leading bits of an id, as many as give each id a bucket of its own on average, name the
    first place in it that the id can have; so a look-up takes one or two steps, where a binary search of three million
    ids takes 22, each of them a wait for memory.
    """

    def __init__(self, ids: pa.Array) -> None:
        """Raises ValueError where an id stands twice."""
        halves = _halves(ids)
        self._order = np.argsort(halves[:, 0])
        self._first, self._second = halves[self._order, 0], halves[self._order, 1]
        if (self._first[1:] == self._first[:-1]).any():
            raise ValueError("an id stands twice")
        bits = max(1, len(ids).bit_length())
        self._shift = np.uint64(64 - bits)
        sizes = np.bincount((self._first >> self._shift).astype(np.int64), minlength=1 << bits)
        self._start = np.cumsum(sizes) - sizes

    def find(self, ids: pa.ChunkedArray | pa.Array) -> IntArray:
        """Return each id's place in the list, -1 where it is not there."""
        halves, last = _halves(ids), len(self._first) - 1
        if last < 0:
            return np.full(len(halves), -1, dtype=np.int64)
        key = np.ascontiguousarray(halves[:, 0])
        at = np.minimum(self._start[key >> self._shift], last)
        behind = np.flatnonzero(self._first[at] < key)
        while len(behind):
            behind = behind[at[behind] < last]
            at[behind] += 1
            behind = behind[self._first[at[behind]] < key[behind]]
        same = (self._first[at] == key) & (self._second[at] == halves[:, 1])
        return np.where(same, self._order[at], -1)

    def known(self, ids: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Return which ids are in the list (bool array, a filter)."""
        return pa.array(self.find(ids) >= 0)


def _halves(ids: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if not len(array):
        return np.zeros((0, 2), dtype=np.uint64)
    raw = np.frombuffer(array.buffers()[1], dtype=np.uint64).reshape(-1, 2)
    return raw[array.offset : array.offset + len(array)]


def first_come(owner: IntArray, place: IntArray, claimant: IntArray) -> NDArray[np.bool_]:
    """Give every place to the least of those who ever claimed it; return which of these claims (N,) hold.

    owner: (M,), NOBODY at first, changed in place. place: (N,), in 0..M - 1. claimant: (N,), numbers that grow from
    call to call, so that what has been given is never taken away.
    """
    np.minimum.at(owner, place, claimant)
    return np.asarray(owner[place] == claimant)


def batches(store: Store, stage: str, key: str, columns: Sequence[str]) -> Iterator[tuple[pa.Table, IntArray]]:
    """Yield all whole shards of a key, some 200,000 rows at a time in one chunk, and the number of each row's shard.

    A pyarrow call costs as much for ten rows as for many. While one batch is worked on, threads decode the next.
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
    store: Store, stage: str, paths: Sequence[Path], first: int, columns: Sequence[str]
) -> tuple[pa.Table, IntArray] | None:
    """Read shards `first`, `first` + 1, ...; None where all of them are damaged."""
    tables = [store.read(stage, path, columns) for path in paths]
    whole = [(number, table) for number, table in enumerate(tables, first) if table is not None]
    if not whole:
        return None
    numbers, found = zip(*whole, strict=True)
    return pa.concat_tables(found).combine_chunks(), np.repeat(numbers, [len(t) for t in found]).astype(np.int64)


def _cut(joined: tuple[pa.Table, IntArray] | None) -> Iterator[tuple[pa.Table, IntArray]]:
    """Yield parts of at most 200,000 rows: a shard can have any size."""
    if joined is not None:
        table, number = joined
        for start in range(0, len(table), BATCH_ROWS):
            yield table.slice(start, BATCH_ROWS), number[start : start + BATCH_ROWS]
