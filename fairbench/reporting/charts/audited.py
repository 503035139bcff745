"""The charts of an audit: a value with its interval per row, and what it is held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairbench.display.numbers import with_interval
from fairbench.pages.chart import BLUE, ORANGE, Chart
from fairbench.reporting.charts import layers as layers_of

_WIDTH: Final = 420
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a row with its interval; low, high: None where there is none. beside: not what is measured, but what
    it is held against.
    """

    row: str
    what: str
    value: float
    low: float | None
    high: float | None
    beside: bool = False


def points(row: str, what: str, estimate: Json | float | None, *, beside: bool = False) -> Iterator[Point]:
    """Yield the point of an estimate of audit.json, or of a number without an interval; none where it is absent."""
    if not isinstance(estimate, Mapping):
        estimate = {"value": estimate, "low": None, "high": None}
    value, low, high = (None if estimate[name] is None else float(estimate[name]) for name in ("value", "low", "high"))
    if value is not None:
        yield Point(row, what, value, low, high, beside)


def chart(name: str, title: str, caption: str, unit: str, shown: Sequence[Point]) -> Chart | None:
    """Return dots for what is measured and rings for what it is held against, with intervals; None without a point."""
    if not shown:
        return None
    values = [
        {"row": p.row, "what": p.what, "value": p.value, "low": p.low, "high": p.high, "name": f"{p.row}: {p.what}"}
        for p in shown
    ]
    y = layers_of.rows("name", [f"{p.row}: {p.what}" for p in shown], names=300)
    x = {"field": "value", "type": "quantitative", "title": unit}
    beside = {p.what for p in shown if p.beside}
    held = {"field": "what", "oneOf": sorted(beside)}
    point = {"type": "point", "size": 50, "strokeWidth": 2}
    layers = layers_of.intervals(values, x)
    for is_beside, mark in ((False, {"filled": True, "color": BLUE}), (True, {"filled": False, "color": ORANGE})):
        if any(p.beside is is_beside for p in shown):
            own = held if is_beside else {"not": held}
            layers.append({"transform": [{"filter": own}], "mark": {**point, **mark}, "encoding": {"x": x}})
    fields = ("row", "what", "value", "low", "high")
    return Chart(
        f"audit-{name}",
        title,
        caption,
        f"{'; '.join(map(_words, shown))}.",
        layers_of.by_row(values, y, layers, fields, width=_WIDTH, step=20),
    )


def _words(point: Point) -> str:
    return f"{point.row}, {point.what}: {with_interval(point.value, point.low, point.high)}"
