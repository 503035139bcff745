"""What `fairbench store` prints."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console

from fairbench.display.numbers import whole
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers
from fairbench.storage.compaction import Compacted
from fairbench.upkeep.checking import Broken
from fairbench.upkeep.collection import Plan
from fairbench.upkeep.inventory import Held

_SHOWN_DIGITS: Final = 12
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def size(count: int) -> str:
    """Return a number of bytes in words.

    >>> size(999), size(1_500_000)
    ('999 B', '1.5 MB')
    """
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for length, word in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    return "just now"


def show_keys(keys: Sequence[Held], rows: Mapping[tuple[str, str], int | None], console: Console) -> None:
    """Print the keys of a store. rows: (stage, key) -> how many, where they were counted."""
    names = [Column(name, wraps=True) for name in ("model", "method", "task", "labeller")]
    table = Table(
        [Column("stage"), Column("key"), *names, *numbers("rows", "shards", "size"), Column("last change")],
        note="" if keys else "The store is empty.",
    )
    for held in keys:
        names_of = [", ".join(held.names(name.head)) or "-" for name in names]
        count = rows.get((held.stage, held.key))
        counted = whole(count) if count is not None else "-"
        sizes = [counted, whole(len(held.shards)), size(held.bytes)]
        table.add(held.stage, held.key[:_SHOWN_DIGITS], *names_of, *sizes, _ago(held.modified))
    table.show(console)


def show_usage(groups: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print how much room everything takes."""
    table = Table([Column("stage"), Column("model", wraps=True), *numbers("keys", "files", "size")])
    for group in groups:
        keys = whole(group["keys"]) if group["keys"] else "-"
        table.add(group["stage"], group["models"] or "-", keys, whole(group["files"]), size(group["bytes"]))
    table.add("all", "", "", whole(sum(g["files"] for g in groups)), size(sum(g["bytes"] for g in groups)))
    table.show(console)


def show_plan(planned: Plan, console: Console, *, done: bool) -> None:
    """Print what would be, or what was, removed."""
    if planned.keys:
        show_keys(planned.keys, {}, console)
    if planned.files:
        say(console, f"{len(planned.files)} other files, {size(sum(e.size for e in planned.files))}")
    if planned.in_use:
        shown = ", ".join(f"{held.stage} {held.key[:_SHOWN_DIGITS]}" for held in planned.in_use[:5])
        more = f" and {len(planned.in_use) - 5} more" if len(planned.in_use) > 5 else ""
        say(console, f"stays, since a process may be working on it: {shown}{more}")
    if not planned.keys and not planned.files:
        say(console, "There is nothing to remove.")
    elif done:
        say(console, f"{size(planned.bytes)} are free.")
    else:
        say(console, f"This would free {size(planned.bytes)}. Nothing was removed: add --yes to do it.")


def show_broken(broken: Sequence[Broken], shards: int, console: Console) -> None:
    """Print which shards are damaged."""
    for each in broken:
        say(console, f"{each.path}: {each.reason}", wrap=False)
    if broken:
        say(
            console, f"{len(broken)} of {shards} shards are damaged: a run moves them aside and makes their rows again."
        )
    else:
        say(console, f"{shards} shards, none is damaged.")


def show_compacted(compacted: Sequence[Compacted], console: Console) -> None:
    """Print what became of the keys that had small shards."""
    if not compacted:
        say(console, "No key has several small shards.")
        return
    heads = numbers("shards\nbefore", "shards\nafter", "size\nbefore", "size\nafter", "repeated\nrows removed")
    table = Table([Column("stage"), Column("key"), *heads])
    for each in compacted:
        counts = [whole(each.shards_before), whole(each.shards), size(each.bytes_before), size(each.bytes)]
        table.add(each.stage, each.key[:_SHOWN_DIGITS], *counts, whole(each.repeated))
    table.show(console)
