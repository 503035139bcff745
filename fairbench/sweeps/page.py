"""The page of a sweep: page.html, and beside it the folder page/ with all that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.display.note import label_note
from fairbench.display.page import Page
from fairbench.display.tables import Table
from fairbench.pages.frame import Site, safe
from fairbench.sweeps import words
from fairbench.sweeps.charts import charts
from fairbench.sweeps.result import Result

NAME: Final = "page.html"
_SITE: Final = Site(Path(__file__).parent / "site", "page", ("sweep.css",), ("sweep.js",))


def write(result: Result, content: Mapping[str, Any], folder: Path) -> None:
    """Write the page of a result. content: of its sweep.json. Raises StoreError, MissingExtra."""
    tables = [words.arms_table(result), words.costs_table(result)]
    tables += [words.axis_table(result, axis) for axis in result.axes]
    pages = [_kept(table) for table in tables]
    settings = content["settings"]
    parts = {part: f"{run['task']['name']} ({settings['labellers'][part]})" for part, run in settings["runs"].items()}
    drawn = charts(result)
    shown = {
        "model": settings["model"],
        "budget": settings["budget"],
        "parts": parts,
        "seeds": len(result.seeds),
        "verdicts": [*words.verdicts(result)],
        "notes": [*words.notes(result), label_note("labeller")],
        "tables": [safe(page.html()) for page in pages],
        "titles": [table.title or "The arms" for table in tables],
        "chart_list": drawn,
    }
    _SITE.write_assets(folder)
    copies = [{"markdown": page.markdown(), "latex": page.latex()} for page in pages]
    _SITE.write_data(folder, drawn, tables=copies)
    _SITE.write_page("page.html", shown, folder, drawn, name=NAME)


def _kept(table: Table) -> Page:
    page = Page(label_note("labeller"))
    page.keep(table)
    return page
