"""`store gc`: what can be removed from a store, why the rest stays, and removing it.

What a running process works on stays: keys that were changed within the last hour, and all keys that the same run
asked for. A key is removed shard by shard; what a run writes meanwhile stays.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairbench.errors import FairbenchError
from fairbench.storage import atomic, origins, paths, spool
from fairbench.storage.files import Entry
from fairbench.storage.store import Store
from fairbench.upkeep import inventory
from fairbench.upkeep.inventory import DAMAGED, Held, Inventory, Selection

ACTIVE_SECONDS: Final = atomic.STALE_SECONDS
"""Keys that were changed later than this are taken to be in use."""
DAY: Final = 86_400.0
_KEY: Final = re.compile(rb"\b[0-9a-f]{32}\b")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to go: the selected keys, of them those that no run in `keep` refers to and that are old enough.

    older_than: days since the last change. damaged: the shards, too, that were set aside.
    """

    selection: Selection
    keep: Sequence[Path] = ()
    older_than: float | None = None
    damaged: bool = False

    def check(self) -> None:
        """Raise FairbenchError where nothing was named: that would be the whole store."""
        if self.selection.is_all and not self.keep and self.older_than is None and not self.damaged:
            raise FairbenchError(
                "Say what is to go: all that no run refers to (--keep RUN...), or --key, --model, --stage, "
                "--older-than DAYS, --damaged."
            )


@dataclass(frozen=True)
class Plan:
    """What would be removed: keys, and other files. in_use: selected keys that stay, as a process may work on them."""

    keys: list[Held]
    files: list[Entry]
    in_use: list[Held]

    @property
    def bytes(self) -> int:
        """How much room that frees."""
        return sum(held.bytes for held in self.keys) + sum(entry.size for entry in self.files)


def plan(store: Store, wanted: Wanted) -> Plan:
    """Return what would be removed; removes nothing. Raises FairbenchError."""
    wanted.check()
    held = inventory.read(store)
    only_damaged = wanted.selection.is_all and not wanted.keep and wanted.older_than is None
    chosen = [] if only_damaged else wanted.selection.of(held)
    if wanted.keep:
        kept = _referred_to(wanted.keep, held, store)
        chosen = [each for each in chosen if each.key not in kept]
    now = time.time()
    if wanted.older_than is not None:
        chosen = [each for each in chosen if now - each.modified > wanted.older_than * DAY]
    active = _active(held, now)
    free = [each for each in chosen if (each.stage, each.key) not in active]
    spooled = {each.key for each in free if each.stage == "images"}
    files = [entry for entry in held.other.get(spool.FOLDER, []) if entry.path.parent.name in spooled]
    files += held.other.get(DAMAGED, []) if wanted.damaged else []
    return Plan(free, files, [each for each in chosen if (each.stage, each.key) in active])


def remove(store: Store, planned: Plan) -> Plan:
    """Remove what was planned; returns what was in fact removed. What came into use meanwhile stays."""
    removed: list[Held] = []
    in_use = list(planned.in_use)
    for held in planned.keys:
        now = inventory.read_key(store, held.stage, held.key)
        # Runs write themselves down before they look for what is there.
        if now is not None and (now.shards != held.shards or _asked_for(store, now)):
            in_use.append(now)
            continue
        for shard in held.shards:
            store.files.remove(shard.path)
        _forget_folder(store, held)
        removed.append(held)
    for entry in planned.files:
        store.files.remove(entry.path)
    return Plan(removed, planned.files, in_use)


def _forget_folder(store: Store, held: Held) -> None:
    """Remove a key's empty folder; one that is not empty stays."""
    folder = store.files.folder
    if folder is not None:
        try:
            (folder / held.stage / held.key).rmdir()
        except OSError:  # a run has written into it
            return


def _referred_to(folders: Iterable[Path], held: Inventory, store: Store) -> set[str]:
    """Return the keys that runs, sets, audits and sweeps name in their JSON files.

    Whatever looks like a key counts, so that what is not understood is kept. Raises FairbenchError for a folder that
    names none: a mistake would cost everything.
    """
    known = {each.key for each in held.held}
    kept: set[str] = set()
    for folder in folders:
        path = paths.expand(str(folder))
        if not path.is_dir():
            raise FairbenchError(f"--keep {folder}: there is no such folder; name the folder of a run.")
        own = store.files.folder.resolve() if store.files.folder is not None else None
        named: set[str] = set()
        for file in path.rglob("*.json"):
            if own is None or not file.resolve().is_relative_to(own):
                named |= {match.decode() for match in _KEY.findall(file.read_bytes())}
        if not named & known:
            raise FairbenchError(
                f"--keep {folder}: it refers to no key of this store; name the folder of a run, of a set, or one that "
                "holds several, and the store that they were made with."
            )
        kept |= named & known
    return kept


def _active(held: Inventory, now: float) -> set[tuple[str, str]]:
    """Return the keys, with their stages, that a process may be working on."""
    recent = {(each.stage, each.key) for each in held.held if now - each.modified < ACTIVE_SECONDS}
    active = set(recent)
    for note in held.notes:
        keys = {(stage, key) for stage, of_stage in note.origin.keys.items() for key in of_stage}
        if now - note.modified < ACTIVE_SECONDS or keys & recent:
            active |= keys
    return active


def _asked_for(store: Store, held: Held) -> bool:
    """Whether a run asked for a key within the last hour."""
    notes = origins.read(store, since=time.time() - ACTIVE_SECONDS)
    return any(held.key in note.origin.keys.get(held.stage, ()) for note in notes)
