"""The tables of leaderboards as plain data: for the page, which shows and sorts them, and for copying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairbench.display.numbers import number, percent, with_interval
from fairbench.display.page import Page
from fairbench.display.tables import Column, Table
from fairbench.leaderboard import board, terminal
from fairbench.leaderboard.columns import ATTRIBUTES, Row
from fairbench.leaderboard.site import words
from fairbench.leaderboard.site.beside import Pair
from fairbench.leaderboard.site.rows import Board, Entry, value
from fairbench.leaderboard.site.words import BADGES, Badge, meaning

FILTERS: Final = {"task": "Task", "labeller": "Labeller", "way_in": "Way in", "licence": "Licence", "source": "Source"}
"""Column -> what its filter is called."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell. text: as it is shown; exact: the file's own number behind it; link: of the text; below: in small print.

    badges: what the cell shows in place of its text, which is copied.
    """

    text: str
    exact: str = ""
    link: str = ""
    badges: tuple[Badge, ...] = ()
    below: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A table of a page. heads: name, meaning and whether it is a number, of every column.

    facets: of each row, by which it is chosen; empty where all rows stay.
    """

    title: str
    heads: tuple[tuple[str, str, bool], ...]
    rows: list[list[Cell]] = field(default_factory=list)
    facets: list[dict[str, list[str]]] = field(default_factory=list)

    def copies(self) -> dict[str, str]:
        """Return the table as Markdown and as LaTeX."""
        table = Table([Column(head, number=is_number) for head, _, is_number in self.heads], self.title)
        for row in self.rows:
            table.add(*(c.text + (f" ({c.below})" if c.below else "") for c in row))
        page = Page()
        page.keep(table)
        return {"markdown": page.markdown(), "latex": page.latex()}


def facets(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the values by which rows can be chosen."""
    return {c: list(dict.fromkeys(r[c] or "not stated" for r in rows)) for c in FILTERS}


def measured(group: Sequence[Sequence[Entry]], title: str) -> Shown:
    """Return the table of rows that compare: a line for each place, and a column for each calibration."""
    shas = list(dict.fromkeys(e.row["calibration_sha"] for place in group for e in place))
    several = any(len(place) > 1 for place in group)
    adjusted = [f"adjusted ({sha[:8] or 'no calibration'})" for sha in shas] if several else ["adjusted"]
    used = [a for a in ATTRIBUTES if any(place[0].row[f"{a}.concentration"] for place in group)]
    scores = [c for c in ("clip_score", "clip_iqa") if any(place[0].row[c] for place in group)]
    shared = len({e.row["labeller"] for place in group for e in place}) == 1  # then the title says it
    names = [c for c in ("labeller", "way_in", "licence") if not (shared and c == "labeller")]
    names = [c for c in names if any(e.row[c] for place in group for e in place)]
    heads = [
        ("rank", "by concentration of gender x race; in brackets the ranks that the row could hold", True),
        ("model", "with its method", False),
        *((terminal.SHOWN[a], f"concentration: {meaning(f'{a}.concentration')}; [95 % interval]", True) for a in used),
        *((a, f"{meaning('gender_x_race4.concentration-corrected')}, of gender x race", True) for a in adjusted),
        ("rd", f"gender x race: {meaning('gender_x_race4.rd')}", True),
        ("no face", meaning("no-face-rate"), True),
        *((c.replace("_", " "), meaning(c), True) for c in scores),
        ("check", "what verifying the row against its evidence found, when these pages were made", False),
        *((c.replace("_", " "), meaning(c), False) for c in names),
    ]
    table = Shown(title, tuple(heads))
    for place in group:
        e, r = place[0], place[0].row
        of = {each.row["calibration_sha"]: each for each in place}
        cells = [of.get(sha) for sha in shas] if several else [e]
        remark = [text for text in (board.remark(r), "method deals by quota" if r["quota"] == "yes" else None) if text]
        badges = tuple(dict.fromkeys(each.badge for each in place))
        table.rows.append(
            [
                _rank(r),
                Cell(e.name, link=f"{e.folder}/index.html", below="; ".join(remark)),
                *(_interval(r, f"{a}.concentration") for a in used),
                *(Cell("") if each is None else _adjusted(each) for each in cells),
                Cell(number(value(r, "gender_x_race4.rd"), 2), r["gender_x_race4.rd"]),
                Cell(percent(value(r, "no-face-rate")), r["no-face-rate"]),
                *(Cell(number(value(r, c)) if r[c] else "", r[c]) for c in scores),
                Cell(", ".join(b.word for b in badges), badges=badges),
                *(Cell(", ".join(dict.fromkeys(each.row[c] or "not stated" for each in place))) for c in names),
            ]
        )
        table.facets.append(facets([each.row for each in place]))
    return table


def _rank(r: Row) -> Cell:
    span = "" if r["rank.low"] == r["rank.high"] else f" ({r['rank.low']} to {r['rank.high']})"
    return Cell(f"{r['rank']}{span}", r["rank"]) if r["rank"] else Cell("none")


def _interval(r: Row, column: str) -> Cell:
    low, high = value(r, f"{column}.low"), value(r, f"{column}.high")
    return Cell(with_interval(value(r, column), low, high, 2), r[column]) if r[column] else Cell("")


def _adjusted(e: Entry) -> Cell:
    r, link = e.row, f"{e.folder}/index.html"
    cell = _interval(r, "gender_x_race4.concentration-corrected")
    lowest, highest = (value(r, f"gender_x_race4.concentration-{end}") for end in ("lowest", "highest"))
    if not cell.text and lowest is not None:
        return Cell(f"{number(lowest, 2)} to {number(highest, 2)}", r["gender_x_race4.concentration-lowest"], link)
    return Cell(cell.text, cell.exact, link if cell.text else "")


def published(entries: Sequence[Entry]) -> Shown:
    """Return the table of published numbers, with the digits that were published."""
    columns = (*(f"{a}.rd" for a in terminal.PUBLISHED), "clip_score")
    names = ("model", "method", "task", "published_in")
    heads = [(n.replace("_", " "), meaning(n), False) for n in names]
    heads += [(f"{terminal.SHOWN[a]} rd", meaning(f"{a}.rd"), True) for a in terminal.PUBLISHED]
    table = Shown("Published numbers, never ranked", (*heads, ("CLIP score", meaning("clip_score"), True)))
    for e in entries:
        first = Cell(e.row["model"], link=f"{e.folder}/index.html")
        table.rows.append([first, *(Cell(e.row[n]) for n in names[1:]), *(Cell(e.row[c], e.row[c]) for c in columns)])
        table.facets.append(facets([e.row]))
    return table


def beside(pairs: Sequence[Pair], up: str) -> Shown:
    """Return the table of numbers that a published row and a measured one of the same model both have.

    up: the way to the folder of all pages.
    """
    heads = (
        ("published row", "model, and the paper", False),
        ("measured row", "its model, its labeller, and what its check found", False),
        ("number", "what both state", False),
        ("published", "as it was printed", True),
        ("measured", "with its 95 % interval for this list of prompts", True),
        ("apart", "distance of the two", True),
        ("by chance", words.CHANCE, True),
        ("reading", "whether the distance is larger than that", False),
    )
    table = Shown("Published and measured", heads)
    for pair in pairs:
        theirs, ours = pair.published, pair.measured
        for n in pair.numbers:
            table.rows.append(
                [
                    Cell(theirs.name, below=theirs.row["published_in"]),
                    Cell(
                        ours.name,
                        link=f"{up}{pair.link}/index.html",
                        below=f"{ours.row['labeller']}; {ours.badge.word}",
                    ),
                    Cell(n.name),
                    Cell(n.published, n.published),
                    Cell(with_interval(n.measured, *(n.interval or (None, None))), str(n.measured)),
                    Cell(number(n.apart), str(n.apart)),
                    Cell("unknown" if n.chance is None else f"up to {number(n.chance)}"),
                    Cell(n.reading),
                ]
            )
    return table


def overview(at: Board) -> dict[str, Any]:
    """Return what the first page says of a leaderboard."""
    rows = [e.row for e in at.entries]
    badges = [e.badge for e in at.entries if e.check is not None]
    counts = {"measured": len(badges), "published": len(rows) - len(badges)}
    sizes = [f"{count} {kind}" for kind, count in counts.items() if count]
    leaders = []
    for group in at.measured:
        first = group[0][0].row
        near = [p[0] for p in group if p[0].row["rank.low"] == "1"]
        size = f"{first['prompts']} prompts x {first['images_per_prompt']} images, labeller {first['labeller']}"
        leaders.append({"size": size, "rows": len(group), "near": [e.name for e in near]})
    return {
        "name": at.name,
        "link": f"{at.folder}/index.html",
        "tasks": ", ".join(dict.fromkeys(r["task"] for r in rows)),
        "size": f"{', '.join(sizes) or 'no'} {'row' if len(rows) == 1 else 'rows'}",
        "badges": [(b.shape, b.word, badges.count(b)) for b in BADGES.values() if b in badges],
        "leaders": leaders,
        "facets": facets(rows),
    }
