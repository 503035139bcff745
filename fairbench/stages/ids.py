"""Looking ids up by the million: sorted once, searched shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BATCH_ROWS = 200_000


class IdIndex:
    """The places of 16-byte ids in a list. Ids are hashes, so the first eight bytes are enough to sort by."""

    def __init__(self, ids: pa.Array) -> None:
        """Raises ValueError where an id stands twice."""
        halves = _halves(ids)
        self._order = np.argsort(halves[:, 0], kind="stable")
        self._first, self._second = halves[self._order, 0], halves[self._order, 1]
        if (self._first[1:] == self._first[:-1]).any():
            raise ValueError("an id stands twice")

    def find(self, ids: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
        """Return each id's place in the list, -1 where it is not there."""
        halves = _halves(ids)
        if not len(self._order):
            return np.full(len(halves), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._first, halves[:, 0]), len(self._first) - 1)
        same = (self._first[at] == halves[:, 0]) & (self._second[at] == halves[:, 1])
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


def first_of_each(places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which entries are the first of their value."""
    first = np.zeros(len(places), dtype=bool)
    first[np.unique(places, return_index=True)[1]] = True
    return first


def batches(shards: Iterator[tuple[Path, pa.Table]]) -> Iterator[pa.Table]:
    """Yield shards joined to batches of some 200,000 rows: a pyarrow call costs as much for ten rows as for many."""
    waiting: list[pa.Table] = []
    for _, table in shards:
        waiting.append(table)
        if sum(map(len, waiting)) >= BATCH_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
