"""Vega-Lite as SVG for papers, and the script that draws the same charts in a browser."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from fairbench.networks.weights import cache_dir
from fairbench.pages.chart import Spec
from fairbench.storage import atomic

SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
_GLOBALS: Final = "window.vegaEmbed = vegaEmbed;"
_FONT: Final = "Helvetica, Arial, sans-serif"


def whole(spec: Spec, *, dark: bool = False) -> Spec:
    """Return a specification with the style that all charts share."""
    ink, faint = ("#e6e6e6", "#4a4a4a") if dark else ("#1b1b1b", "#d9d9d9")
    config: dict[str, Any] = {
        "background": None,
        "font": _FONT,
        "view": {"stroke": None},
        "axis": {"labelColor": ink, "titleColor": ink, "gridColor": faint, "domainColor": faint, "tickColor": faint},
        "rule": {"color": ink},
        "point": {"opacity": 1},
        "header": {"labelColor": ink, "labelFontSize": 12},
        "legend": {"labelColor": ink, "titleColor": ink},
    }
    return {"$schema": SCHEMA, **spec, "config": {**config, **spec.get("config", {})}}


def svg(spec: Spec) -> str:
    """Return a chart as SVG, on white."""
    import vl_convert

    drawn = whole(spec)
    drawn["config"] = {**drawn["config"], "background": "white"}
    return str(vl_convert.vegalite_to_svg(drawn))


@cache
def library() -> str:
    """Return the script of Vega, Vega-Lite and Vega-Embed; it takes seconds to bundle, so it is kept in the cache."""
    import vl_convert

    path = cache_dir() / f"vega-{vl_convert.get_vega_version()}-{vl_convert.get_vega_embed_version()}.js"
    if not path.is_file():
        atomic.write_bytes(path, vl_convert.javascript_bundle(_GLOBALS).encode())
    return path.read_text(encoding="utf-8")
