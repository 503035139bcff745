"""What a store holds: its keys, whose they are, and what else takes room in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.errors import FairbenchError
from fairbench.storage import origins, spool
from fairbench.storage.files import Entry
from fairbench.storage.store import STAGES, Store, is_shard

DAMAGED: Final = "damaged"
_MIN_PREFIX: Final = 4
_READERS: Final = 8


@dataclass(frozen=True)
class Held:
    """A key of a store with its shards, and the origins that name it, each with its date."""

    stage: str
    key: str
    shards: list[Entry]
    notes: list[origins.Note] = field(default_factory=list)

    @cached_property
    def bytes(self) -> int:
        """The size of all shards."""
        return sum(shard.size for shard in self.shards)

    @cached_property
    def modified(self) -> float:
        """When the last shard was written, in seconds since 1970."""
        return max(shard.modified for shard in self.shards)

    def names(self, field: str) -> list[str]:
        """Return what the origins say of a field ("model", "method", "task" or "labeller"), sorted.

        Images are of no labeller, and scores of none.
        """
        if field == "labeller" and self.stage in ("images", "scores"):
            return []
        return sorted({str(getattr(note.origin, field)) for note in self.notes})


@dataclass(frozen=True)
class Inventory:
    """What a store holds. other: the rest by what it is ("spool", "damaged", "unfinished"), as files."""

    held: list[Held]
    notes: list[origins.Note]
    other: dict[str, list[Entry]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys a command is about; what is empty excludes none. keys: their first digits."""

    stages: Sequence[str] = ()
    keys: Sequence[str] = ()
    models: Sequence[str] = ()

    @property
    def is_all(self) -> bool:
        """Whether nothing was named."""
        return not (self.stages or self.keys or self.models)

    def of(self, inventory: Inventory) -> list[Held]:
        """Return the keys that are meant. Raises FairbenchError for a name that means none."""
        if odd := set(self.stages) - set(STAGES):
            raise FairbenchError(f"--stage {min(odd)}: name {', '.join(STAGES)}.")
        for prefix in self.keys:
            if len(prefix) < _MIN_PREFIX or not any(held.key.startswith(prefix) for held in inventory.held):
                raise FairbenchError(
                    f"--key {prefix}: no key of the store begins so; give at least {_MIN_PREFIX} digits of one that "
                    "`fairbench store ls` shows."
                )
        known = {name for held in inventory.held for name in held.names("model")}
        if unknown := set(self.models) - known:
            raise FairbenchError(
                f"--model {min(unknown)}: the store knows {', '.join(sorted(known)) or 'no model by its name'}; keys "
                "of earlier releases have no names: give them with --key."
            )
        return [held for held in inventory.held if self._means(held)]

    def _means(self, held: Held) -> bool:
        return (
            (not self.stages or held.stage in self.stages)
            and (not self.keys or held.key.startswith(tuple(self.keys)))
            and (not self.models or bool(set(self.models) & set(held.names("model"))))
        )


def read(store: Store) -> Inventory:
    """Return what a store holds, by its listing alone; no shard is opened. Raises StoreError."""
    notes = origins.read(store)
    of_key: dict[tuple[str, str], list[origins.Note]] = {}
    for note in notes:
        for stage, keys in note.origin.keys.items():
            for key in keys:
                of_key.setdefault((stage, key), []).append(note)
    shards: dict[tuple[str, str], list[Entry]] = {}
    other: dict[str, list[Entry]] = {}
    for stage in STAGES:
        for entry in store.files.list(store.root / stage, deep=True):
            if is_shard(entry.path) and entry.path.parent.parent.name == stage:
                shards.setdefault((stage, entry.path.parent.name), []).append(entry)
            elif entry.path.name.endswith(".tmp"):
                other.setdefault("unfinished", []).append(entry)
    for name in (spool.FOLDER, DAMAGED):
        if entries := store.files.list(store.root / name, deep=True):
            other[name] = entries
    held = [Held(stage, key, entries, of_key.get((stage, key), [])) for (stage, key), entries in shards.items()]
    return Inventory(held, notes, other)


def read_key(store: Store, stage: str, key: str) -> Held | None:
    """Return one key as it is now, without its origins; None where it is gone."""
    shards = store.listing(stage, key)
    return Held(stage, key, shards) if shards else None


def row_counts(store: Store, chosen: Sequence[Held], *, wanted: bool | None) -> dict[tuple[str, str], int | None]:
    """Return (stage, key) -> its rows; empty where they are not wanted.

    wanted: None counts in folders only, as an object store would send every shard for it.
    """
    if wanted is False or (wanted is None and store.files.folder is None):
        return {}
    return {(held.stage, held.key): rows(store, held) for held in chosen}


def rows(store: Store, held: Held) -> int | None:
    """Return how many rows a key has, by the ends of its shards; None where one cannot be read."""
    with ThreadPoolExecutor(_READERS) as pool:
        counts = list(pool.map(lambda shard: _rows_of(store, shard.path), held.shards))
    return None if None in counts else sum(count or 0 for count in counts)


def _rows_of(store: Store, path: PurePath) -> int | None:
    file = store.files.open(path)
    if file is None:
        return 0
    try:
        with file:
            return int(pq.read_metadata(file).num_rows)
    except (OSError, pa.ArrowException):
        return None


def record(held: Held) -> dict[str, Any]:
    """Return a key for machines."""
    names = {f"{name}s": held.names(name) for name in ("model", "method", "task", "labeller")}
    size = {"shards": len(held.shards), "bytes": held.bytes, "modified": held.modified}
    return {"stage": held.stage, "key": held.key, **names, **size}


def usage(inventory: Inventory) -> Iterator[dict[str, Any]]:
    """Yield how much room each stage takes for each model, the largest first, then all else."""
    groups: dict[tuple[str, str], list[Held]] = {}
    for held in inventory.held:
        groups.setdefault((held.stage, ", ".join(held.names("model"))), []).append(held)
    for (stage, models), keys in sorted(groups.items(), key=lambda item: -sum(held.bytes for held in item[1])):
        files = sum(len(held.shards) for held in keys)
        yield {"stage": stage, "models": models, "keys": len(keys), "files": files, "bytes": sum(h.bytes for h in keys)}
    for name, entries in inventory.other.items():
        size = sum(entry.size for entry in entries)
        yield {"stage": name, "models": "", "keys": 0, "files": len(entries), "bytes": size}
