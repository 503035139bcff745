"""The charts of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fairbench.pages.chart import PALETTE, Chart

_WIDTH: Final = 520


def compared(rows: Sequence[dict[str, Any]]) -> Chart:
    """Return the concentration of several runs with intervals. rows: run, attribute, value, low, high."""
    runs = list(dict.fromkeys(row["run"] for row in rows))
    colour = {
        "field": "run",
        "type": "nominal",
        "sort": None,
        "scale": {"range": list(PALETTE)},
        "legend": {"orient": "top", "title": None},
    }
    x = {"field": "value", "type": "quantitative", "title": "concentration (0: even, 1: one group alone)"}
    y = {"field": "run", "type": "nominal", "sort": None, "title": None, "axis": None}
    shape = {"field": "run", "type": "nominal", "sort": None, "legend": None}
    inner = {
        "width": _WIDTH,
        "height": {"step": 16},
        "encoding": {
            "y": y,
            "color": colour,
            "tooltip": [{"field": n} for n in ("run", "attribute", "value", "low", "high")],
        },
        "layer": [
            {"mark": "rule", "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "size": 60}, "encoding": {"x": x, "shape": shape}},
        ],
    }
    facet = {
        "row": {"field": "attribute", "title": None, "sort": None, "header": {"labelAngle": 0, "labelAlign": "left"}}
    }
    words = (f"{row['run']}, {row['attribute']}: {row['value']:.3f}" for row in rows)
    return Chart(
        "compared",
        "Concentration of the runs",
        "Points: concentration as read; lines: 95 % intervals for the list of prompts. Whether a difference is shown "
        "says `fairbench compare`, which pairs the prompts: that intervals overlap does not tell.",
        f"{len(runs)} runs. {'; '.join(words)}.",
        {"data": {"values": list(rows)}, "facet": facet, "spec": inner},
    )
