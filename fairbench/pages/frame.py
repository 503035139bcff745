"""What all static pages share: their frame, scripts and styles, charts as files, and the script that hands them data.

The pages work from disk and from any web server, without a network: a browser refuses modules and `fetch` from disk but
runs classic scripts, so that data are assignments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from fairbench import __version__
from fairbench.pages import drawing
from fairbench.pages.chart import Chart
from fairbench.storage import atomic

_SITE: Final = Path(__file__).parent / "site"
_STYLES: Final = ("frame.css",)
_SCRIPTS: Final = ("cells.js", "frame.js")
CELLS: Final = _SITE / "cells.js"
"""How scripts write CSV: the rule of `storage.cells`, in their language."""
_VEGA: Final = "vega.js"


@dataclass(frozen=True, slots=True)
class Site:
    """Pages of one kind. folder: their templates, with styles and scripts of these names. assets: name of the folder
    beside a page that holds all that the page shows.
    """

    folder: Path
    assets: str
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()

    @property
    def sources(self) -> list[Path]:
        """The templates, styles and scripts that pages of this kind are made of."""
        return sorted([*_SITE.iterdir(), *self.folder.iterdir()])

    def write_assets(self, root: Path) -> None:
        """Write what all pages load into the folder of the first page."""
        for place, names in ((_SITE, _STYLES + _SCRIPTS), (self.folder, self.styles + self.scripts)):
            for name in names:
                atomic.write_text(root / self.assets / name, (place / name).read_text(encoding="utf-8"))
        atomic.write_text(root / self.assets / _VEGA, drawing.library())

    def write_page(
        self,
        template: str,
        content: Mapping[str, Any],
        folder: Path,
        charts: Sequence[Chart] = (),
        root: str = "",
        name: str = "index.html",
    ) -> None:
        """Write a page. content: what its template shows; all of it is escaped. root: the way to the first page."""
        frame = {
            "root": root,
            "assets": self.assets,
            "styles": _STYLES + self.styles,
            "scripts": (_VEGA, *_SCRIPTS, *self.scripts),
            "charts": charts,
            "fairbench": __version__,
        }
        atomic.write_text(folder / name, _template(self.folder, template).render(**frame, **content))

    def write_data(self, folder: Path, charts: Sequence[Chart], **data: Any) -> None:
        """Write the charts of a page as files of their own, and the script that gives the page its data.

        The page receives `fairbench.give("page", {charts, styles, **data})`.
        """
        for chart in charts:
            path = folder / self.assets / "charts" / chart.name
            atomic.write_text(path.with_name(f"{chart.name}.svg"), drawing.svg(chart.spec))
            whole = json.dumps(drawing.whole(chart.spec), allow_nan=False)
            atomic.write_text(path.with_name(f"{chart.name}.json"), whole)
        specs = {chart.name: {"$schema": drawing.SCHEMA, **chart.spec} for chart in charts}
        styles = {name: drawing.whole({}, dark=name == "dark")["config"] for name in ("light", "dark")}
        text = script("page", {"charts": specs, "styles": styles, **data})
        atomic.write_text(folder / self.assets / "data" / "page.js", text)


@cache
def _template(folder: Path, name: str) -> Any:
    """Return a template, which is compiled once for all pages that it makes."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _SITE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name)


def script(name: str, data: Any) -> str:
    """Return a script that hands `data` to the page: `fairbench.give(name, data)`."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"fairbench.give({json.dumps(name)},{text});\n"


def safe(html: str) -> Any:
    """Return HTML that `display.page` made, which escapes what it shows, as such."""
    import markupsafe

    return markupsafe.Markup(html)
