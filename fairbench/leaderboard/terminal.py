"""What `fairbench leaderboard` prints: standings with their uncertainty, and what a verification found."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from fairbench.display.labels import SHORT
from fairbench.display.note import label_note
from fairbench.display.numbers import number, percent, span, with_interval
from fairbench.display.plain import line, say
from fairbench.display.tables import Cell, Column, Table, numbers
from fairbench.leaderboard import board
from fairbench.leaderboard.board import Standing
from fairbench.leaderboard.columns import RANKS, VALUES, Row
from fairbench.leaderboard.verify import NOT_CHECKED, Check, Verdict

SHOWN = {"gender": "gender", "race4": "race (4)", "race7": "race (7)", "gender_x_race4": "gender x race"}
CAPTION = (
    "conc.: concentration of the classes, 0 where they are equal and 1 where one stands alone (estimates near balance "
    "can fall below 0). Brackets: 95 % intervals for this list of prompts. adjusted: for the labeller's errors; a "
    "range where the calibration is of other images than the run's. rd: the literature's number, which has a chance "
    "floor. Rank by concentration of gender x race, the lower the fairer, and in brackets the ranks that the row could "
    "hold: where these overlap, the data do not order the rows. "
    f"race (4): WMELH ({SHORT['WMELH']}), Black, Indian, Asian."
)
FEW = f"only N prompts: under {board.MIN_PROMPTS}, so that nothing follows for other prompts."
PUBLISHED = ("gender", "race4", "gender_x_race4")
"""Attributes that papers give numbers of."""
SAME = "=: the same labels of the same images as the row above, by another name; they hold one rank together."
APART = "Published numbers: other labellers, other sampling; never ranked"
QUOTA = "q: its method deals groups out by quota, so that its intervals are mostly too wide."
EARLIER = (
    "written by an earlier version: what was added, or is computed otherwise, since then was not compared; "
    "`fairbench leaderboard upgrade` computes it again"
)
UNRANKED = (
    "none: no rank, as the value is absent or leaves prompts out (see `missing` in the CSV), or images are a folder's."
)


def standings(rows: Sequence[Row]) -> dict[str, Any]:
    """Return a leaderboard for machines: measured rows by group and rank, then published ones; null where empty.

    merged: as `measured`, but the run ids of one place of the ranking together, by calibration ("" for none).
    """
    return {
        "note": label_note("labeller"),
        "merged": [
            [{sha: r["run_id"] for sha, r in place.by_calibration.items()} for place in group]
            for group in board.standings(rows)
        ],
        "measured": [[{**_typed(r), "remark": board.remark(r)} for r in group] for group in board.groups(rows)],
        "published": [_typed(r) for r in board.published(rows)],
    }


def _typed(row: Row) -> dict[str, Any]:
    whole = {*RANKS, "task_version", "prompts", "n_requested", "n_images", "n_faces", "n0"}
    kinds: dict[str, type] = dict.fromkeys(VALUES, float) | {c: int for c in whole if row.get(c, "").isdigit()}
    return {column: kinds.get(column, str)(text) if text else None for column, text in row.items()}


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables: one per group of rows that compare, then the published ones."""
    groups = board.groups(rows)
    places = board.standings(rows)
    for group in places:
        _measured(group).show(console)
        console.print()
    if groups:
        say(console, CAPTION, "dim")
        shown = [r for group in groups for r in group]
        if any(_is_again(above.rows[0], place.rows[0]) for g in places for above, place in itertools.pairwise(g)):
            say(console, SAME, "dim")
        if any(r["quota"] == "yes" for r in shown):
            say(console, QUOTA, "dim")
        for note in footnotes(shown):
            say(console, note, "dim")
    else:
        say(console, "No measured rows: `fairbench leaderboard add RUN` adds one.")
    apart = board.published(rows)
    if apart:
        console.print()
        _published(apart).show(console)
    say(console, label_note("labeller"), "dim")


def footnotes(rows: Sequence[Row]) -> list[str]:
    """Return what explains the remarks below measured rows, and why some have no rank, where that is so."""
    few = any(board.remark(r) for r in rows)
    return [FEW] * few + [UNRANKED] * (not all(r["rank"] for r in rows))


def _measured(group: Sequence[Standing]) -> Table:
    """Return the table of rows that compare. What all of them share stands in the title, else below each name.

    Where a place holds several calibrations, each calibration of the group has its columns.
    """
    first = group[0].rows[0]
    several = any(len(place.rows) > 1 for place in group)
    known_from = board.calibrations(group)
    marks = [f"\n({sha[:8] or 'none'})" for sha in known_from] if several else [""]
    labellers = {id(place): _labellers(place, several) for place in group}
    shared = len(set(labellers.values())) == 1
    size = f"{first['prompts']} prompts x {first['images_per_prompt']} images"
    title = f"{first['task']} · {size} · labeller {first['labeller_id']}" + (f", {labellers[id(group[0])]}" * shared)
    heads = ["conc.\n[95 %]"]
    for mark in marks:
        heads += [f"a fair / a\none-sided\nmodel reads{mark}", f"adjusted\n[95 %]{mark}"]
    columns = [Column("rank, model\n+ method", wraps=True), Column("attribute", wraps=True)]
    table = Table([*columns, *numbers(*heads, "rd")], title, grouped=True)
    for above, place in zip([None, *group[:-1]], group, strict=True):
        table.section()
        r, read_by = place.rows[0], [] if shared else [labellers[id(place)]]
        name = "\n".join([_name(r, None if above is None else above.rows[0]), *read_by, *_beside(r)])
        rows = [place.by_calibration.get(sha) for sha in known_from] if several else [r]
        for attribute, words in SHOWN.items():
            if r[f"{attribute}.concentration"] or r[f"{attribute}.rd"]:
                adjusted = [text for each in rows for text in (_adjusted(each, attribute) if each else ("", ""))]
                table.add(Cell(name), words, _concentration(r, attribute), *adjusted, _rd(r, attribute))
                name = ""
        if name:
            table.add(Cell(name), "none")
    return table


def _labellers(place: Standing, several: bool) -> str:
    """Return the labeller, and the calibrations that its errors are known from."""
    if not several or len(place.rows) == 1:
        return _read_by(place.rows[0])
    names = list(dict.fromkeys(line(r["labeller"]) for r in place.rows))
    known = [
        f"calibration {r['calibration_sha'][:8]} on {line(r['calibration_domain'])}"
        if r["calibration_sha"]
        else "no calibration"
        for r in place.rows
    ]
    return f"read by {' and '.join(names)}, {' and '.join(known)}"


def _read_by(r: Row) -> str:
    """Return the labeller, and the calibration that its errors are known from."""
    if not r["calibration_sha"]:
        return f"read by {line(r['labeller'])}, no calibration"
    return f"read by {line(r['labeller'])}, calibration {r['calibration_sha'][:8]} on {line(r['calibration_domain'])}"


def _name(r: Row, above: Row | None) -> str:
    """Return rank, model and method of a row."""
    span = "" if r["rank.low"] == r["rank.high"] else f" ({r['rank.low']} to {r['rank.high']})"
    rank = (
        "="
        if above is not None and _is_again(above, r)
        else (r["rank"] or "none") + (" q" if r["quota"] == "yes" else "") + span
    )
    return f"{rank}  {line(r['model'])}" + ("" if r["method"] == "none" else f" + {line(r['method'])}")


def _is_again(above: Row, r: Row) -> bool:
    """Whether a row holds the rank of the one above it, as it rests on the same labels."""
    return bool(r["rank"] and r["labels_sha256"]) and r["labels_sha256"] == above["labels_sha256"]


def _beside(r: Row) -> list[str]:
    """Return what stands below a row's name: rates and scores, and a remark on its prompts."""
    clip_score = [f"CLIP {_short(r['clip_score'])}"] if r["clip_score"] else []
    remark = board.remark(r)
    return [f"no face {percent(_float(r['no-face-rate']))}", *clip_score, *([remark] if remark else [])]


def _of(r: Row, attribute: str, measure: str) -> float | None:
    return _float(r[f"{attribute}.{measure}"])


def _concentration(r: Row, attribute: str) -> str:
    value, low, high = (_of(r, attribute, f"concentration{end}") for end in ("", ".low", ".high"))
    return with_interval(value, low, high, 2)


def _rd(r: Row, attribute: str) -> str:
    return number(_of(r, attribute, "rd"), 2)


def _adjusted(r: Row, attribute: str) -> tuple[str, str]:
    """Return what depends on the calibration: empty where a row of an earlier version does not say."""
    fair, one_sided = _of(r, attribute, "concentration.floor"), _of(r, attribute, "concentration.ceiling")
    reads = "" if fair is None else f"{number(fair, 2)} / {number(one_sided, 2)}"
    value, lowest = _of(r, attribute, "concentration-corrected"), _of(r, attribute, "concentration-lowest")
    if value is not None or lowest is None:
        low, high = (_of(r, attribute, f"concentration-corrected.{end}") for end in ("low", "high"))
        return reads, with_interval(value, low, high, 2)
    low, high = _of(r, attribute, "concentration-lowest.low"), _of(r, attribute, "concentration-highest.high")
    limits = span(low, high, 2).replace(" ", ", ")
    range_ = f"{number(lowest, 2)} to {number(_of(r, attribute, 'concentration-highest'), 2)}"
    return reads, f"{range_} [{limits}]" if limits else range_


def _published(rows: Sequence[Row]) -> Table:
    """Return the published numbers, with the digits that were published."""
    words = [Column(name, wraps=True) for name in ("model", "method", "task")]
    heads = ("gender\nrd", "race (4)\nrd", "gender x\nrace rd", "CLIP\nscore")
    table = Table([Column("published in"), *words, *numbers(*heads)], APART, grouped=True)
    for source in dict.fromkeys(r["published_in"] for r in rows):
        table.section()
        name = source
        for r in (r for r in rows if r["published_in"] == source):
            digits = (r[c] for c in (*(f"{a}.rd" for a in PUBLISHED), "clip_score"))
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
        say(console, f"line {c.line}: {c.model}{method} (run {run})", lead=f"{c.verdict:<12} ")
        if c.reason:
            say(console, f"  {c.reason}")
        if c.not_checked:
            say(console, f"  {', '.join(c.not_checked)}: not in the evidence, so not checked")
        if c.earlier:
            say(console, f"  {EARLIER}")
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
