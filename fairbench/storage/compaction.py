"""Merges the small shards of a key into larger ones with the same rows.

What replaces a shard is on the disk before the shard is removed, so that a kill at any moment loses nothing: it leaves
rows that stand in two shards, of which readers take one. Before anything is merged, rows that no reader takes are
removed, from the last shard to the first: while any copy of a row is left, the one that readers take is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from fairbench.errors import StoreError
from fairbench.storage import exclusive, repeats, schemas
from fairbench.storage.exclusive import Renew
from fairbench.storage.files import Entry
from fairbench.storage.store import Store

IMAGES_BYTES: Final = 64 << 20
TABLE_BYTES: Final = 8 << 20
"""How large a merged shard of images, or of anything else, is meant to be. Readers hold several of them at once, and
rows of tables take a few times as much when they are read."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of a key. Numbers of shards and their bytes, before and after; repeated: rows that were removed."""

    stage: str
    key: str
    shards_before: int
    shards: int
    bytes_before: int
    bytes: int
    repeated: int


def target(stage: str) -> int:
    """Return how many bytes a merged shard of a stage is meant to have."""
    return IMAGES_BYTES if stage == "images" else TABLE_BYTES


def small(listing: list[Entry], size: int) -> list[Entry]:
    """Return the shards that are worth merging: those of less than half of `size` bytes, where there are several."""
    found = [shard for shard in listing if 2 * shard.size < size]
    return found if len(found) > 1 else []


def compact(
    store: Store, stage: str, key: str, size: int | None = None, advance: Callable[[int], None] = lambda shards: None
) -> Compacted:
    """Merge the small shards of a key into shards of about `size` bytes; `advance` is told how many are done.

    size: `target` of the stage, unless named.

    Memory: about four times `size`, and 50 bytes for every row of the key. Other compactions of the key wait; runs go
    on. Raises StoreError.
    """
    size = size or target(stage)
    with exclusive.alone(store.files, store.root / stage / key) as renew:
        before = store.listing(stage, key)
        repeated = 0
        if small(before, size):
            repeated = _remove_repeats(store, stage, key, renew)
            for group in _groups(small(store.listing(stage, key), size), size):
                _merge(store, stage, key, group, renew)
                advance(len(group))
        after = store.listing(stage, key)
    return Compacted(stage, key, len(before), len(after), _size(before), _size(after), repeated)


def _remove_repeats(store: Store, stage: str, key: str, renew: Renew) -> int:
    """Write shards anew without the rows that no reader takes; return how many rows these were."""
    removed = 0
    for path, kept in sorted(repeats.taken(store, stage, key).items(), reverse=True):
        table = store.read(stage, path)
        if table is None:
            raise StoreError(f"{path} was removed while its key was compacted: run the same command again.")
        store.write(stage, key, _current(stage, table.filter(pa.array(kept))))
        renew()
        store.files.remove(path)
        removed += int((~kept).sum())
    return removed


def _size(shards: Iterable[Entry]) -> int:
    return sum(shard.size for shard in shards)


def _groups(shards: list[Entry], size: int) -> Iterator[list[Entry]]:
    """Yield shards that together have at least `size` bytes, in the order in which they were written.

    That is about the order in which runs read images. Left over is what would be a shard alone.
    """
    group: list[Entry] = []
    for shard in sorted(shards, key=lambda shard: (shard.modified, shard.path)):
        group.append(shard)
        if _size(group) >= size:
            yield group
            group = []
    if len(group) > 1:
        yield group


def _merge(store: Store, stage: str, key: str, group: list[Entry], renew: Renew) -> None:
    """Write the rows of several shards as one, then remove them; a shard stays whole, as do the faces of an image."""
    read = [(shard.path, store.read(stage, shard.path)) for shard in group]
    tables = {path: _current(stage, table) for path, table in read if table is not None}  # others are set aside
    if len(tables) > 1:
        merged = store.write(stage, key, pa.concat_tables(tables.values()))
        renew()
        for path in tables:
            if path != merged:
                store.files.remove(path)


def _current(stage: str, table: pa.Table) -> pa.Table:
    """Return a table as the store writes it: what Parquet gives back of a map has other inner names."""
    want = schemas.schema(stage)
    return table.replace_schema_metadata(want.metadata).cast(want)
