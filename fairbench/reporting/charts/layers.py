"""Layers that several charts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairbench.pages.chart import GREY, Spec

TALL: Final = 60
"""Rows from which a chart scrolls in a box of its own, and has its axis on top, where it is seen first."""


def rows(field: str, order: Sequence[str] | None = None, *, names: int = 320) -> Spec:
    """Return the channel of a row per value of a field, in the given order or as they come. names: room in pixels."""
    sort = None if order is None else list(order)
    return {"field": field, "type": "nominal", "sort": sort, "title": None, "axis": {"labelLimit": names}}


def of_height(count: int) -> Spec:
    """Return what a chart of so many rows has besides."""
    return {"config": {"axisX": {"orient": "top"}}} if count > TALL else {}


def by_row(
    values: Sequence[Mapping[str, Any]],
    y: Spec,
    layers: Sequence[Spec],
    fields: Sequence[str],
    *,
    width: int,
    step: int,
) -> Spec:
    """Return a chart that has a row per value. fields: what the tooltip tells; width, step: of all and of a row."""
    return {
        **of_height(len({value[y["field"]] for value in values})),
        "data": {"values": list(values)},
        "width": width,
        "height": {"step": step},
        "encoding": {"y": y, "tooltip": [{"field": name} for name in fields]},
        "layer": list(layers),
    }


def intervals(values: Sequence[Mapping[str, Any]], x: Mapping[str, Any], mark: Spec | None = None) -> list[Spec]:
    """Return the lines from `low` to `high` of the values that have both; no layer where none has, as Vega warns of it.

    x: the channel of the points. mark: further properties of the lines.
    """
    if all(value["low"] is None or value["high"] is None for value in values):
        return []
    return [
        {
            "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
            "mark": {"type": "rule", **(mark or {})},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
        }
    ]


def line(at: float) -> Spec:
    """Return a dashed line across all rows, as of balance. One, and not one per row of data, which would look solid."""
    encoding = {"x": {"field": "at", "type": "quantitative"}, "y": None, "tooltip": None}
    return {
        "data": {"values": [{"at": at}]},
        "mark": {"type": "rule", "strokeDash": [4, 3], "color": GREY},
        "encoding": encoding,
    }
