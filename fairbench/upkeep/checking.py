"""`store verify` and `store compact`: every shard of the selected keys, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairbench.display.progress import Progress
from fairbench.storage import compaction
from fairbench.storage.compaction import Compacted
from fairbench.storage.store import Store
from fairbench.upkeep.inventory import Held


@dataclass(frozen=True, slots=True)
class Broken:
    """A shard that cannot be used. path: as messages name it."""

    stage: str
    key: str
    path: str
    reason: str


def verify(store: Store, chosen: Sequence[Held], progress: Progress) -> list[Broken]:
    """Read every shard whole and return those that are damaged; nothing is moved. Raises StoreError."""
    broken = []
    with progress.stage("verify", sum(len(held.shards) for held in chosen), "shards") as bar:
        for held in chosen:
            for shard in held.shards:
                reason = store.fault(held.stage, shard.path)
                if reason is not None:
                    broken.append(Broken(held.stage, held.key, store.files.shown(shard.path), reason))
                bar.advance()
    return broken


def compact(store: Store, chosen: Sequence[Held], size: int | None, progress: Progress) -> Iterator[Compacted]:
    """Merge the small shards of the selected keys and yield what became of each key that has several.

    Raises StoreError.
    """
    small = [(held, compaction.small(held.shards, size or compaction.target(held.stage))) for held in chosen]
    with progress.stage("compact", sum(len(shards) for _, shards in small), "shards") as bar:
        for held, shards in small:
            if shards:
                yield compaction.compact(store, held.stage, held.key, size, bar.advance)
