"""Rows that several shards of a key hold, as two processes make them that do the same work: which of them readers take.

Readers take the first: the shards' names, which are hashes, are their order. So a shard that is rewritten under another
name could change what is taken, where two copies differ (in seconds, or in the last digits of a GPU). Before shards are
merged, the copies that no reader takes are therefore left out.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairbench.storage.ids import IntArray, halves
from fairbench.storage.store import Store

_COLUMNS: Final = {
    "images": ["image_id"],
    "faces": ["image_id", "status"],
    "labels": ["face_id", "attribute"],
    "scores": ["image_id"],
}
"""What tells the rows of a stage apart, and whether readers pass over a row where another shard has better."""


def taken(store: Store, stage: str, key: str) -> dict[PurePath, NDArray[np.bool_]]:
    """Return which rows (N,) readers take, for every shard of a key of which they do not take all.

    All faces of an image are taken from one shard: the first that did not fail on it, else the first. Needs about 50
    bytes of memory for every row of the key.
    """
    paths: list[PurePath] = []
    parts: list[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]] = []
    for path in store.shards(stage, key):
        table = store.read(stage, path, _COLUMNS[stage])
        if table is not None:
            paths.append(path)
            parts.append(_identity(stage, table))
    if len(paths) < 2:
        return {}
    first, second, failed = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    sizes = [len(part[0]) for part in parts]
    parts.clear()
    shard = np.repeat(np.arange(len(paths)), sizes)
    kept = np.ones(len(shard), dtype=bool)
    kept[_passed_over(first, second, failed, shard)] = False
    of_shard = np.split(kept, np.cumsum(sizes)[:-1])
    return {path: rows for path, rows in zip(paths, of_shard, strict=True) if not rows.all()}


def _identity(stage: str, table: pa.Table) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]:
    """Return what tells rows apart as two numbers, (N,) each, and which rows are failed detections (N,)."""
    pairs = halves(table[_COLUMNS[stage][0]])
    first, second = pairs[:, 0].copy(), pairs[:, 1].copy()
    failed = np.zeros(len(table), dtype=bool)
    if stage == "labels":  # ids are hashes, so that an attribute's own hash makes another id of a face's
        names = table["attribute"].combine_chunks().dictionary_encode()
        hashes = [hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in names.dictionary.to_pylist()]
        second ^= np.frombuffer(b"".join(hashes), dtype=np.uint64)[names.indices.to_numpy()]
    if stage == "faces":
        failed = np.asarray(pc.equal(table["status"], "failed").to_numpy(), dtype=bool)
    return first, second, failed


def _passed_over(
    first: NDArray[np.uint64], second: NDArray[np.uint64], failed: NDArray[np.bool_], shard: IntArray
) -> IntArray:
    """Return the rows that stand in another shard, too, and are not taken from this one."""
    order = np.argsort(first)
    is_equal = first[order[1:]] == first[order[:-1]]
    # Of millions of rows few are repeated: only these are compared in full.
    repeated: IntArray = order[np.concatenate([is_equal, [False]]) | np.concatenate([[False], is_equal])]
    if not len(repeated):
        return repeated
    repeated = repeated[np.lexsort((shard[repeated], failed[repeated], second[repeated], first[repeated]))]
    begins = np.ones(len(repeated), dtype=bool)
    begins[1:] = (np.diff(first[repeated]) != 0) | (np.diff(second[repeated]) != 0)
    taken_from = shard[repeated[begins]][np.cumsum(begins) - 1]
    return np.asarray(repeated[shard[repeated] != taken_from])
