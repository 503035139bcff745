"""Who asked for which keys: `STORE/runs/<id>.json`, written when a run or a set begins.

Keys are hashes, so that a store alone would not say of which model they are. What is written here is for people and for
`fairbench store`: nothing is computed from it, and a store without it is whole.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from fairbench import keys
from fairbench.errors import StoreError
from fairbench.storage.store import Store

FOLDER: Final = "runs"


@dataclass(frozen=True, slots=True)
class Origin:
    """The names that belong to some keys. keys: stage -> its keys."""

    model: str
    method: str
    task: str
    labeller: str
    keys: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Note:
    """An origin as it lies in a store. modified: when it was written last, in seconds since 1970."""

    origin: Origin
    modified: float


def write(store: Store, origin: Origin) -> None:
    """Write an origin down; where it is there already, it gets a new date.

    Where that is not possible, nothing is: a run that only reads needs no permission to write.
    """
    content = asdict(origin)
    name = keys.digest("origin", content).hex()
    with contextlib.suppress(StoreError):  # who writes shards is told there
        store.create()
        store.files.put(store.root / FOLDER / f"{name}.json", (json.dumps(content, indent=2) + "\n").encode())


def read(store: Store, since: float = 0.0) -> list[Note]:
    """Return what is written down, since a time in seconds since 1970; what is no such file is passed over."""
    notes = []
    for entry in store.files.list(store.root / FOLDER):
        if entry.modified < since or not entry.path.name.endswith(".json"):
            continue
        content = store.files.read(entry.path)
        try:
            fields = json.loads(content or b"null")
            stages = {str(stage): [str(key) for key in of_stage] for stage, of_stage in fields["keys"].items()}
            names = {name: str(fields[name]) for name in ("model", "method", "task", "labeller")}
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        notes.append(Note(Origin(**names, keys=stages), entry.modified))
    return notes
