"""`fairbench leaderboard site`: the standings as static pages, which work from disk and from any web server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fairbench import __version__
from fairbench.display.note import label_note
from fairbench.errors import FairbenchError
from fairbench.leaderboard import terminal
from fairbench.leaderboard.site import charts as drawing
from fairbench.leaderboard.site import tables as shown_tables
from fairbench.leaderboard.site import words
from fairbench.leaderboard.site.beside import pairs
from fairbench.leaderboard.site.rows import SUBMIT, Board, Entry, folders, read
from fairbench.leaderboard.site.tables import FILTERS, Cell, Shown
from fairbench.pages.chart import Chart
from fairbench.pages.frame import Site
from fairbench.storage import atomic, kinds
from fairbench.storage import folders as storage_folders

ASSETS: Final = "assets"
_SITE: Final = Site(Path(__file__).parent / "templates", ASSETS, ("site.css",), ("site.js",))


def write(paths: Sequence[Path], out: Path) -> Path:
    """Verify leaderboards, and write their pages into `out`; return the first page.

    Raises CardError where a file is no leaderboard, FairbenchError where one is named twice or `out` holds other files.
    """
    real = [path.resolve() for path in paths]
    twice = next((path for path in paths if real.count(path.resolve()) > 1), None)
    if not paths or twice is not None:
        raise FairbenchError(f"{twice} is named twice: name each leaderboard once." if paths else "Name a leaderboard.")
    storage_folders.check(out, kinds.LEADERBOARD_SITE)
    boards = [read(path, folder) for path, folder in zip(paths, folders(paths), strict=True)]
    with storage_folders.replacing(out, kinds.LEADERBOARD_SITE) as folder:
        _SITE.write_assets(folder)
        about = {"fairbench": __version__, "leaderboards": [board.file for board in boards]}
        atomic.write_text(folder / ASSETS / "leaderboards.json", json.dumps(about) + "\n")
        page = {"boards": [shown_tables.overview(board) for board in boards], "note": label_note("labeller")}
        _write("boards.html", page, folder, "")
        _write("submit.html", {"badges": words.BADGES}, folder / "pages" / SUBMIT, "../../")
        for board in boards:
            _write_board(board, boards, folder / "pages" / board.folder)
    return out / "index.html"


def _write(
    template: str,
    page: dict[str, Any],
    folder: Path,
    root: str,
    charts: Sequence[Chart] = (),
    tables: Sequence[Shown] = (),
) -> None:
    copies = [table.copies() for table in tables]
    _SITE.write_data(folder, charts, tables=copies, filters=FILTERS)
    _SITE.write_page(template, {"pages": f"{root}pages/", **page}, folder, charts, root)


def _write_board(board: Board, boards: Sequence[Board], folder: Path) -> None:
    """Write the page of a leaderboard, and one for each of its rows."""
    groups, charts, tables = [], [], list[Shown]()
    for i, group in enumerate(board.measured, 1):
        first = group[0][0].row
        title = f"{first['task']}: {first['prompts']} prompts x {first['images_per_prompt']} images"
        labeller = f"labeller {first['labeller']} ({first['labeller_id']})"
        leading = [place[0] for place in group]
        drawn = [
            drawing.standings(f"standings-{i}", "Standings and the ranks that rows could hold", leading),
            drawing.attributes(f"attributes-{i}", "Every attribute", leading),
        ]
        tables.append(shown_tables.measured(group, f"{title}, {labeller}"))
        shown = [chart for chart in drawn if chart is not None]
        groups.append({"title": title, "labeller": labeller, "table": len(tables) - 1, "charts": shown})
        charts += shown
    if board.published:
        tables.append(shown_tables.published(board.published))
    found = [pair for entry in board.published for pair in pairs(entry, boards)]
    if found:
        tables.append(shown_tables.beside(found, "../"))
    measured = [entry.row for entry in board.entries if entry.row["source"] == "measured"]
    page = {
        "name": board.name,
        "groups": groups,
        "tables": tables,
        "published": len(groups) if board.published else None,
        "pairs": found,
        "words": words,
        "hints": [*terminal.footnotes(measured), words.unstated(measured)],
        "note": label_note("labeller"),
    }
    _write("board.html", page, folder, "../../", charts, tables)
    for entry in board.entries:
        _write_row(entry, board, boards, folder / entry.folder)


def _write_row(entry: Entry, board: Board, boards: Sequence[Board], folder: Path) -> None:
    """Write the page of a row."""
    chart = drawing.attributes("attributes", "Every attribute", [entry])
    found = list(pairs(entry, boards)) if entry.check is None else []
    values = [[Cell(column), Cell(text), Cell(words.meaning(column))] for column, text in entry.row.items() if text]
    stated = Shown(entry.name, (("column", "", False), ("value", "", False), ("what it is", "", False)), values)
    tables = [stated, *([shown_tables.beside(found, "../../")] if found else [])]
    page = {
        "entry": entry,
        "board": board,
        "tables": tables,
        "pairs": found,
        "words": words,
        "unstated": "" if entry.check is None else words.unstated([entry.row]),
        "note": label_note("labeller") if entry.evidence is None else entry.evidence.note,
    }
    _write("row.html", page, folder, "../../../", [] if chart is None else [chart], tables)
