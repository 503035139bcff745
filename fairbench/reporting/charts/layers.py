"""Layers that several charts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.pages.chart import GREY, Spec


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
