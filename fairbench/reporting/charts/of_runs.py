"""The charts of several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.pages.chart import BLUE, GREY, ORANGE, PALETTE, Chart, Spec
from fairbench.reporting.charts import layers

_WIDTH: Final = 520
_HALF: Final = 250
_ROW: Final = 15


def compared(rows: Sequence[dict[str, Any]]) -> Chart:
    """Return the concentration of several runs with intervals. rows: run, attribute, value, low, high, fair.

    fair: what a fair model reads on average through the run's labeller; None where that is not known.
    """
    runs, attributes = (list(dict.fromkeys(row[name] for row in rows)) for name in ("run", "attribute"))
    colour = {"field": "run", "type": "nominal", "sort": None, "scale": {"range": list(PALETTE)}, "legend": None}
    x = {"field": "value", "type": "quantitative", "title": "concentration (0: even, 1: one group alone)"}
    y = layers.rows("run")
    fair = {
        "transform": [{"filter": "isValid(datum.fair)"}],
        "mark": {"type": "tick", "thickness": 2, "size": 12, "color": GREY},
        "encoding": {"x": {**x, "field": "fair"}, "color": {"value": GREY}},
    }
    inner = {
        "width": _WIDTH - 180,
        "height": {"step": 18},
        "encoding": {
            "y": y,
            "color": colour,
            "tooltip": [{"field": n} for n in ("run", "attribute", "value", "low", "high", "fair")],
        },
        "layer": [
            *layers.intervals(rows, x),
            {"mark": {"type": "point", "filled": True, "size": 60}, "encoding": {"x": x}},
            *([fair] if any(row["fair"] is not None for row in rows) else []),
        ],
    }
    facet = {
        "row": {
            "field": "attribute",
            "title": None,
            "sort": attributes,
            "header": {"labelAngle": 0, "labelAlign": "left"},
        }
    }
    words = (
        f"{row['run']}, {row['attribute']}: {row['value']:.3f}"
        + ("" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]")
        + ("" if row["fair"] is None else f", a fair model {row['fair']:.3f}")
        for row in rows
    )
    return Chart(
        "compared",
        "Concentration of the runs",
        "Points: concentration as read; lines: 95 % intervals for the list of prompts; grey ticks: what a fair model "
        "would read on average. Whether a difference is shown "
        "says the comparison, which pairs the prompts: that intervals overlap does not tell.",
        f"{len(runs)} runs. {'; '.join(words)}.",
        {"data": {"values": list(rows)}, "facet": facet, "spec": inner},
    )


def differences(baseline: str, rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Return the paired differences of runs from the baseline. rows: attribute, run, a, b, effect, low, high, verdict.

    a, b: means of the baseline and of the run over the prompts that both have. low, high: None without an interval.
    """
    several = len({row["run"] for row in rows}) > 1
    values = [{**row, "name": f"{row['attribute']}, {row['run']}" if several else row["attribute"]} for row in rows]
    tooltip = [{"field": name} for name in ("attribute", "run", "a", "b", "effect", "low", "high", "verdict")]
    y: dict[str, Any] = {"field": "name", "type": "nominal", "sort": None, "title": None}
    both: dict[str, Any] = {"height": {"step": 24}}
    x: dict[str, Any] = {"type": "quantitative", "title": f"concentration of {baseline} (ring) and of the run (filled)"}
    dumbbells = _dumbbells(x, "a", "b", size=70)
    x = {"type": "quantitative", "title": f"run minus {baseline}"}
    point = {"type": "point", "filled": True, "size": 60, "color": BLUE}
    effects = [
        layers.line(0),
        *layers.intervals(values, x, {"strokeWidth": 2}),
        {"mark": point, "encoding": {"x": {**x, "field": "effect"}}},
    ]
    bare = {**y, "axis": None}
    panels = [
        {
            "width": _HALF,
            **both,
            "encoding": {"y": {**y, "axis": {"labelLimit": 220}}, "tooltip": tooltip},
            "layer": dumbbells,
        },
        {"width": _HALF, **both, "encoding": {"y": bare, "tooltip": tooltip}, "layer": effects},
    ]
    words = (
        f"{v['name']}: {v['a']:.3f} to {v['b']:.3f}, difference {v['effect']:+.3f}"
        + ("" if v["low"] is None else f" [{v['low']:.3f}, {v['high']:.3f}]")
        for v in values
    )
    return Chart(
        "differences",
        "Paired differences in concentration",
        "Left: means over the prompts that both runs have; right: their difference, prompt by prompt, with its 95 % "
        "interval for this list. What they show say the verdicts, adjusted for the number of tests.",
        f"{'; '.join(words)}.",
        {"data": {"values": values}, "hconcat": panels},
    )


def prompts(attribute: str, names: tuple[str, str], pairs: Sequence[tuple[str, float, float]]) -> Chart:
    """Return two runs' concentration in every prompt, two dots joined. pairs: (name, first run, second run)."""
    ordered = sorted(pairs, key=lambda pair: pair[2] - pair[1], reverse=True)
    values = [{"name": s, "first": a, "second": b, "difference": b - a} for s, a, b in ordered]
    y = layers.rows("name")
    x = {"type": "quantitative", "title": f"concentration: {names[0]} (ring), {names[1]} (filled)"}
    changes = [(s, b - a) for s, a, b in ordered]
    higher, lower = sum(d > 0 for _, d in changes), sum(d < 0 for _, d in changes)
    return Chart(
        f"prompts-{attribute}",
        f"{spaced(attribute)}: concentration in every prompt of both runs",
        "As read, without intervals: single prompts are noisy. The comparison above judges all of them together.",
        f"{len(values)} prompts: {higher} higher and {lower} lower in {names[1]}. From {changes[0][0]} "
        f"({changes[0][1]:+.2f}) to {changes[-1][0]} ({changes[-1][1]:+.2f}).",
        layers.by_row(values, y, _dumbbells(x, "first", "second", size=50), list(values[0]), width=_WIDTH, step=_ROW),
    )


def _dumbbells(x: Mapping[str, Any], first: str, second: str, *, size: int) -> list[Spec]:
    """Return the layers of a ring at the field `first`, joined to a dot at the field `second`."""
    at_first, at_second = {**x, "field": first}, {**x, "field": second}
    ring = {"type": "point", "filled": False, "size": size, "color": BLUE, "strokeWidth": 2}
    dot = {"type": "point", "filled": True, "size": size, "color": ORANGE}
    return [
        {"mark": {"type": "rule", "color": GREY}, "encoding": {"x": at_first, "x2": {"field": second}}},
        {"mark": ring, "encoding": {"x": at_first}},
        {"mark": dot, "encoding": {"x": at_second}},
    ]
