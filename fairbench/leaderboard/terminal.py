"""What `fairbench leaderboard` prints: standings with their uncertainty, and what a verification found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from fairbench.display.labels import SHORT
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, percent
from fairbench.display.plain import line, say
from fairbench.display.tables import Cell, Column, Table, numbers
from fairbench.leaderboard import board
from fairbench.leaderboard.board import VALUES, Row
from fairbench.leaderboard.verify import NOT_CHECKED, Check, Verdict

SHOWN = {"gender": "gender", "race4": "race (4)", "gender_x_race4": "gender x race"}
CAPTION = (
    "conc.: concentration of the classes, 0 to 1 (estimates near balance can fall below 0), with its 95 % interval for "
    "this list; rd: the literature's number, which has a chance floor (see the CSV). Rank by concentration of "
    "gender x race, the lower the fairer, and the ranks that the row could hold: where these overlap, the data do not "
    "order the rows. "
    f"race (4): WMELH ({SHORT['WMELH']}), Black, Indian, Asian."
)
APART = "Published numbers: other labellers, other sampling; never ranked"
COLOURS = {"agrees": "green", "differs": "red", "damaged": "red", "unverifiable": "yellow"}
QUOTA = "q: its method deals groups out by quota, so that its intervals are mostly too wide."
UNRANKED = (
    "none: no rank, as the value is absent or leaves prompts out (see `missing` in the CSV), or images are a folder's."
)


def standings(rows: Sequence[Row]) -> dict[str, Any]:
    """Return a leaderboard for machines: measured rows by group and rank, then published ones; null where empty."""
    return {
        "note": LABEL_NOTE,
        "measured": [[_typed(r) for r in group] for group in board.groups(rows)],
        "published": [_typed(r) for r in board.published(rows)],
    }


def _typed(row: Row) -> dict[str, Any]:
    whole = {*board.RANKS, "task_version", "prompts", "n_requested", "n_images", "n_faces", "n0"}
    kinds: dict[str, type] = dict.fromkeys(VALUES, float) | {c: int for c in whole if row.get(c, "").isdigit()}
    return {column: kinds.get(column, str)(text) if text else None for column, text in row.items()}


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables: one per group of rows that compare, then the published ones."""
    groups = board.groups(rows)
    for group in groups:
        _measured(group).show(console)
        console.print()
    if groups:
        say(console, CAPTION, "dim")
        shown = [r for group in groups for r in group]
        if any(r["quota"] == "yes" for r in shown):
            say(console, QUOTA, "dim")
        if not all(r["rank"] for r in shown):
            say(console, UNRANKED, "dim")
    else:
        say(console, "No measured rows: `fairbench leaderboard add RUN` adds one.")
    apart = board.published(rows)
    if apart:
        console.print()
        _published(apart).show(console)
    say(console, LABEL_NOTE, "dim")


def _measured(group: Sequence[Row]) -> Table:
    first = group[0]
    size = f"{first['prompts']} prompts x {first['images_per_prompt']} images"
    title = f"{first['task']} · {size} · labelled by {first['labeller']} ({first['labeller_id']})"
    attributes = (f"{name}\nconc.   rd" for name in SHOWN.values())
    columns = [Column("rank"), Column("model\n+ method", wraps=True), *map(Column, attributes)]
    table = Table([*columns, *numbers("no\nface", "CLIP\nscore")], title)
    for r in group:
        method = "" if r["method"] == "none" else f"\n+ {line(r['method'])}"
        estimates = (_estimates(r, attribute) for attribute in SHOWN)
        others = percent(_float(r["no-face-rate"])), _short(r["clip_score"])
        table.add(_rank(r), Cell(line(r["model"]) + method), *estimates, *others)
    return table


def _rank(r: Row) -> Cell:
    if not r["rank"]:
        return Cell("none")
    span = "" if r["rank.low"] == r["rank.high"] else f"\n{r['rank.low']} to {r['rank.high']}"
    return Cell(r["rank"] + (" q" if r["quota"] == "yes" else "") + span)


def _estimates(r: Row, attribute: str) -> Cell:
    """Return concentration and rd, and below them the interval of concentration."""
    concentration, rd = r[f"{attribute}.concentration"], r[f"{attribute}.rd"]
    if not concentration and not rd:
        return Cell("")
    low, high = r[f"{attribute}.concentration.low"], r[f"{attribute}.concentration.high"]
    interval = f"\n{_short(low)} to {_short(high)}" if low and high else ""
    return Cell(f"{_short(concentration):<7} {_short(rd)}{interval}")


def _published(rows: Sequence[Row]) -> Table:
    """Return the published numbers, with the digits that were published."""
    words = [Column(name, wraps=True) for name in ("model", "method", "task")]
    heads = ("gender\nrd", "race (4)\nrd", "gender x\nrace rd", "CLIP\nscore")
    table = Table([Column("published in"), *words, *numbers(*heads)], APART, grouped=True)
    for source in dict.fromkeys(r["published_in"] for r in rows):
        table.section()
        name = source
        for r in (r for r in rows if r["published_in"] == source):
            digits = (r[c] for c in (*(f"{a}.rd" for a in SHOWN), "clip_score"))
            table.add(name, *(r[c] for c in ("model", "method", "task")), *digits)
            name = ""
    return table


def _float(text: str) -> float | None:
    return float(text) if text else None


def _short(text: str) -> str:
    return number(_float(text))


def verification(checks: Sequence[Check], path: Path) -> dict[str, Any]:
    """Return what a verification found, for machines."""
    return {
        "csv": str(path),
        "counts": _counts(checks),
        "not_checked": list(NOT_CHECKED),
        "rows": [asdict(check) for check in checks],
    }


def _counts(checks: Sequence[Check]) -> dict[str, int]:
    counts = Counter(c.verdict for c in checks)
    return {verdict: counts[verdict] for verdict in get_args(Verdict)}


def show_verification(checks: Sequence[Check], console: Console) -> None:
    """Print the verdict of every measured row, each cell that differs, and the counts."""
    for c in checks:
        method = "" if c.method == "none" else f" + {c.method}"
        run = c.run_id[:8] or "unknown"
        say(console, f"{c.verdict:<12} line {c.line}: {c.model}{method} (run {run})", COLOURS[c.verdict])
        if c.reason:
            say(console, f"  {c.reason}")
        if c.not_checked:
            say(console, f"  {', '.join(c.not_checked)}: not in the evidence, so not checked")
        if c.differences:
            _differences(c).show(console)
    counts = _counts(checks)
    say(
        console,
        f"Measured rows that agree with their evidence: {counts['agrees']}; that differ: {counts['differs']}; "
        f"with damaged evidence: {counts['damaged']}; unverifiable, without evidence: {counts['unverifiable']}. "
        f"Never checked: {', '.join(NOT_CHECKED)}, and published rows.",
    )


def _differences(check: Check) -> Table:
    table = Table([Column(name, wraps=True) for name in ("column", "in the CSV", "recomputed")])
    for d in check.differences:
        table.add(d.column, d.stated or Cell("empty", "dim"), d.recomputed or Cell("empty", "dim"))
    return table
