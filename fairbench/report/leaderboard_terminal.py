"""What `fairbench leaderboard` prints: standings with their uncertainty, and what a verification found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fairbench.report.rundir import LABEL_NOTE
from fairbench.stages import leaderboard
from fairbench.stages.leaderboard import VALUES, Row
from fairbench.stages.leaderboard_verify import NOT_CHECKED, Check

SHOWN = {"gender": "gender", "race4": "race (4)", "gender_x_race4": "gender x race"}
CAPTION = (
    "sq: squared distance from balance, 0 to 1 (estimates can lie below 0), with its 95 % interval for these prompts; "
    "rd: the literature's number, which has a chance floor (see the CSV). Rank by sq of gender x race, the lower the "
    "fairer, and the ranks that the row could hold: where these overlap, the data do not order the rows."
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
        "measured": [[_typed(r) for r in group] for group in leaderboard.groups(rows)],
        "published": [_typed(r) for r in leaderboard.published(rows)],
    }


def _typed(row: Row) -> dict[str, Any]:
    whole = {*leaderboard.RANKS, "task_version", "prompts", "n_requested", "n_images", "n_faces", "n0"}
    return {
        c: None if v == "" else int(v) if c in whole and v.isdigit() else float(v) if c in VALUES else v
        for c, v in row.items()
    }


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables: one a group of rows that compare, then the published ones."""
    groups = leaderboard.groups(rows)
    for group in groups:
        console.print(_measured(group))
    if groups:
        console.print(CAPTION, style="dim", highlight=False)
        shown = [r for group in groups for r in group]
        notes = {QUOTA: any(r["quota"] == "yes" for r in shown), UNRANKED: not all(r["rank"] for r in shown)}
        for note in (n for n, applies in notes.items() if applies):
            console.print(note, style="dim", highlight=False)
    else:
        console.print("No measured rows: `fairbench leaderboard add RUN` adds one.", highlight=False)
    apart = leaderboard.published(rows)
    if apart:
        console.print(f"\n[bold]{APART}[/]", highlight=False)
        console.print(_published(apart))
    console.print(LABEL_NOTE, style="dim", highlight=False)


def _table(title: str) -> Table:
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=escape(title) or None, title_justify="left"
    )
    table.title_style = "bold"
    return table


def _measured(group: Sequence[Row]) -> Table:
    first = group[0]
    size = f"{first['prompts']} prompts x {first['images_per_prompt']} images"
    table = _table(f"{first['task']} · {size} · labelled by {first['labeller']} ({first['labeller_id']})")
    table.add_column("rank", no_wrap=True)
    table.add_column("model\n+ method", max_width=36, overflow="fold")
    for name in SHOWN.values():
        table.add_column(f"{name}\nsq      rd", no_wrap=True)
    table.add_column("no\nface", justify="right", no_wrap=True)
    table.add_column("CLIP\nscore", justify="right", no_wrap=True)
    for r in group:
        method = "" if r["method"] == "none" else f"\n+ {r['method']}"
        spreads = (_spread(r, attribute) for attribute in SHOWN)
        table.add_row(_rank(r), escape(r["model"] + method), *spreads, _percent(r["no-face-rate"]),
                      _decimals(r["clip_score"], 2))  # fmt: skip
    return table


def _rank(r: Row) -> str:
    if not r["rank"]:
        return "none"
    span = "" if r["rank.low"] == r["rank.high"] else f"\n[dim]{r['rank.low']} to {r['rank.high']}[/]"
    return r["rank"] + (" q" if r["quota"] == "yes" else "") + span


def _spread(r: Row, attribute: str) -> str:
    """Return sq and rd, and below them the interval of sq."""
    sq, rd = r[f"{attribute}.sq"], r[f"{attribute}.rd"]
    if not sq and not rd:
        return ""
    low, high = r[f"{attribute}.sq.low"], r[f"{attribute}.sq.high"]
    interval = f"\n[dim]{_short(low)} to {_short(high)}[/]" if low and high else ""
    return f"{_short(sq) or 'none':<7} {_short(rd)}{interval}"


def _published(rows: Sequence[Row]) -> Table:
    """Return the published numbers, with the digits that were published."""
    table = _table("")
    for name in ("model", "method", "task"):
        table.add_column(name, overflow="fold")
    for name in ("gender\nrd", "race (4)\nrd", "gender x\nrace rd", "CLIP\nscore"):
        table.add_column(name, justify="right", no_wrap=True)
    for source in dict.fromkeys(r["published_in"] for r in rows):
        table.add_section()
        table.add_row(f"[bold]{escape(source)}[/]")
        for r in (r for r in rows if r["published_in"] == source):
            numbers = (r[c] for c in (*(f"{a}.rd" for a in SHOWN), "clip_score"))
            table.add_row(*(escape(r[c]) for c in ("model", "method", "task")), *numbers)
    return table


def _short(text: str) -> str:
    """Return three decimals without the leading zero."""
    return f"{float(text):.3f}".replace("0.", ".", 1) if text else ""


def _decimals(text: str, places: int) -> str:
    return f"{float(text):.{places}f}" if text else ""


def _percent(text: str) -> str:
    return f"{100 * float(text):.1f} %" if text else ""


def verification(checks: Sequence[Check], path: Path) -> dict[str, Any]:
    """Return what a verification found, for machines."""
    return {
        "csv": str(path),
        "counts": _counts(checks),
        "not_checked": list(NOT_CHECKED),
        "rows": [
            {
                "line": c.line, "run_id": c.run_id, "model": c.model, "method": c.method, "verdict": c.verdict,
                "differences": [
                    {"column": d.column, "stated": d.stated, "recomputed": d.recomputed} for d in c.differences
                ],
                "reason": c.reason, "not_checked": list(c.not_checked),
            }
            for c in checks
        ],
    }  # fmt: skip


def _counts(checks: Sequence[Check]) -> dict[str, int]:
    found = Counter(c.verdict for c in checks)
    return {verdict: found[verdict] for verdict in ("agrees", "differs", "damaged", "unverifiable")}


def show_verification(checks: Sequence[Check], console: Console) -> None:
    """Print the verdict of every measured row, each cell that differs, and the counts."""
    for c in checks:
        method = "" if c.method == "none" else f" + {c.method}"
        console.print(f"[{COLOURS[c.verdict]}]{c.verdict:<12}[/] line {c.line}: {escape(c.model + method)} "
                      f"(run {escape(c.run_id[:8]) or 'unknown'})", highlight=False)  # fmt: skip
        if c.reason:
            console.print(f"  {c.reason}", highlight=False, markup=False)
        if c.not_checked:
            words = "not in the evidence, so not checked"
            console.print(f"  {', '.join(c.not_checked)}: {words}", highlight=False, markup=False)
        if c.differences:
            console.print(_differences(c))
    counts = _counts(checks)
    console.print(
        f"Measured rows that agree with their evidence: {counts['agrees']}; that differ: {counts['differs']}; "
        f"with damaged evidence: {counts['damaged']}; unverifiable, without evidence: {counts['unverifiable']}. "
        f"Never checked: {', '.join(NOT_CHECKED)}, and published rows.",
        highlight=False,
    )


def _differences(check: Check) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 2))
    for name in ("column", "in the CSV", "recomputed"):
        table.add_column(name, overflow="fold")
    for d in check.differences:
        table.add_row(d.column, escape(d.stated) or "[dim]empty[/]", escape(d.recomputed) or "[dim]empty[/]")
    return table
