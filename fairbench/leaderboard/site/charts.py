"""The charts of leaderboards: concentrations with their intervals, and the ranks that a row could hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fairbench.display.numbers import number, with_interval
from fairbench.leaderboard.board import RANKED_BY
from fairbench.leaderboard.columns import ATTRIBUTES
from fairbench.leaderboard.site.rows import Entry, value
from fairbench.leaderboard.terminal import SHOWN
from fairbench.pages.chart import BLUE, GREY, ORANGE, Chart, Spec

_ROW: Final = 24
"""Height of a row in pixels."""
_ROWS: Final[Spec] = {"field": "row", "type": "nominal", "sort": None, "title": None}
"""The axis of rows, in the order in which they come."""
_NAMES: Final = {"labelLimit": 420, "grid": True}
_TITLE: Final = "concentration (0: even, 1: one group alone)"


def _labels(entries: Sequence[Entry]) -> list[str]:
    """Return a name for each row; rows of one name are told apart by the folders of their pages."""
    names = [e.name for e in entries]
    return [n if names.count(n) == 1 else f"{n} ({e.folder})" for n, e in zip(names, entries, strict=True)]


def _quantity(field: str, title: str | None, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, **more}


def _interval(title: str, colour: str, names: Sequence[str], **more: Any) -> list[Spec]:
    """Return the layers of a point with its interval. names: fields of the value and of the limits."""
    point, low, high = names
    ends = {"x": _quantity(low, title, **more), "x2": {"field": high}}
    return [
        {"mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55, "color": colour}, "encoding": ends},
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": colour},
            "encoding": {"x": _quantity(point, title, **more), "tooltip": [{"field": f} for f in ("row", *names)]},
        },
    ]


def standings(name: str, title: str, entries: Sequence[Entry]) -> Chart | None:
    """Return the rows of one group with the intervals of what they are ranked by, and of their ranks.

    None where fewer than two have a rank.
    """
    values: list[dict[str, Any]] = []
    for label, e in zip(_labels(entries), entries, strict=True):
        ends = [value(e.row, column) for column in (RANKED_BY, f"{RANKED_BY}.low", f"{RANKED_BY}.high")]
        ranks = [value(e.row, column) for column in ("rank", "rank.low", "rank.high")]
        if None not in (*ends, *ranks):
            fields = ("concentration", "low", "high", "rank", "best", "worst")
            values.append({"row": label, **dict(zip(fields, [*ends, *ranks], strict=True))})
    if len(values) < 2:  # one alone is in the chart of every attribute
        return None
    ticks = list(range(1, len(values) + 1, 1 + len(values) // 12))
    ranks_axis = {"scale": {"domain": [0.5, len(values) + 0.5], "nice": False}, "axis": {"values": ticks}}
    size = {"height": {"step": _ROW}}
    spec: Spec = {
        "data": {"values": values},
        "hconcat": [
            {
                **size,
                "width": 440,
                "encoding": {"y": {**_ROWS, "axis": _NAMES}},
                "layer": _interval(f"gender x race: {_TITLE}", BLUE, ("concentration", "low", "high")),
            },
            {
                **size,
                "width": 240,
                "encoding": {"y": {**_ROWS, "axis": {"labels": False, "ticks": False, "grid": True}}},
                "layer": _interval("rank that it could hold", ORANGE, ("rank", "best", "worst"), **ranks_axis),
            },
        ],
    }
    said = (
        f"{v['row']}: {with_interval(v['concentration'], v['low'], v['high'])}, rank {v['rank']:.0f}, "
        f"could be {v['best']:.0f} to {v['worst']:.0f}"
        for v in values
    )
    caption = (
        "Points: concentration of gender x race, and the rank by it. Lines: 95 % intervals for this list of prompts, "
        "and the ranks that a row could hold: where they overlap, the data do not order the rows."
    )
    return Chart(name, title, caption, f"{len(values)} rows. {'; '.join(said)}.", spec)


def attributes(name: str, title: str, entries: Sequence[Entry]) -> Chart | None:
    """Return the concentration of every attribute, with what a fair model would read: a facet per attribute."""
    values: list[dict[str, Any]] = []
    for label, e in zip(_labels(entries), entries, strict=True):
        for attribute in ATTRIBUTES:
            cells = [value(e.row, f"{attribute}.concentration{end}") for end in ("", ".low", ".high", ".floor")]
            if cells[0] is not None:
                fields = dict(zip(("concentration", "low", "high", "fair"), cells, strict=True))
                values.append({"row": label, "attribute": SHOWN[attribute], **fields})
    if not values:
        return None
    # A layer of which no row has the field would have no extent.
    limits, fair = (any(v[name] is not None for v in values) for name in ("low", "fair"))
    intervals = _interval("concentration", BLUE, ("concentration", "low", "high"))
    ticks: list[Spec] = [
        {"mark": {"type": "tick", "thickness": 2, "color": GREY}, "encoding": {"x": _quantity("fair", None)}}
    ]
    inner: Spec = {
        "width": 220,
        "height": {"step": _ROW},
        "encoding": {"y": {**_ROWS, "axis": _NAMES}},
        "layer": [*(intervals if limits else intervals[1:]), *(ticks if fair else [])],
    }
    facet: Spec = {"column": {"field": "attribute", "title": None, "sort": list(SHOWN.values())}}
    said = (
        f"{v['row']}, {v['attribute']}: {with_interval(v['concentration'], v['low'], v['high'])}"
        + ("" if v["fair"] is None else f", a fair model reads {number(v['fair'])}")
        for v in values
    )
    caption = f"Points: concentration as read{', with 95 % intervals' * limits}."
    caption += " Grey ticks: what a fair model would read on average." * fair
    spec = {"data": {"values": values}, "facet": facet, "spec": inner}
    return Chart(name, title, caption, f"{'; '.join(said)}.", spec)
