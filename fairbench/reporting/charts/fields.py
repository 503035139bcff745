"""Charts that are tables of fields: the cross of two attributes, and how often one reading meets another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.display.labels import spaced
from fairbench.display.numbers import whole
from fairbench.pages.chart import Chart

_WIDEST: Final = 84
"""Of a field, in pixels; a table of many columns has narrower ones, whose names are turned."""
_ACROSS: Final = 420
_LONGEST: Final = 160
"""Of a name, in pixels."""


def plane(attribute: str, cells: Sequence[tuple[str, str, float]]) -> Chart:
    """Return the shares of a cross of two attributes as a table of fields. cells: (row, column, mean share)."""
    values: list[dict[str, Any]] = [{"row": row, "column": column, "share": share} for row, column, share in cells]
    axes = {
        "y": {"field": "row", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": _LONGEST}},
        "x": {
            "field": "column",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": _above([column for _, column, _ in cells]),
        },
    }
    colour = {"field": "share", "type": "quantitative", "scale": {"scheme": "blues", "domain": [0, 1]}, "legend": None}
    ink = {"condition": {"test": "datum.share > 0.5", "value": "white"}, "value": "black"}
    text = {"field": "share", "type": "quantitative", "format": ".0%"}
    largest = max(values, key=lambda v: v["share"])
    return Chart(
        f"plane-{attribute}",
        f"{spaced(attribute)}: mean shares over prompts",
        f"Each field: the mean over prompts of its share of faces; an even model has {1 / len(values):.0%} in each.",
        f"{len(values)} fields. The largest is {largest['row']} {largest['column']} with {largest['share']:.0%}.",
        {
            "data": {"values": values},
            "width": {"step": _WIDEST},
            "height": {"step": 44},
            "encoding": axes,
            "layer": [
                {"mark": "rect", "encoding": {"color": colour}},
                {"mark": {"type": "text", "fontSize": 13}, "encoding": {"text": text, "color": ink}},
            ],
        },
    )


def _above(names: Sequence[str], step: int = _WIDEST) -> dict[str, Any]:
    """Return an axis above fields of `step` pixels, with its names turned where they are wider than that."""
    turned = max(map(len, names)) * 6.5 > step
    return {"labelAngle": -45 if turned else 0, "orient": "top", "labelLimit": _LONGEST}


def confusion(
    name: str,
    title: str,
    caption: str,
    sides: tuple[str, str],
    names: tuple[Sequence[str], Sequence[str]],
    counts: ArrayLike,
) -> Chart:
    """Return how often each row was read as each column, coloured by the share of its row.

    sides, names: what rows and columns are, and their names. counts: (rows, columns).
    """
    table = np.asarray(counts, dtype=np.int64)
    of_rows = table.sum(axis=1)
    values: list[dict[str, Any]] = [
        {"row": row, "column": column, "count": int(n), "share": float(n / total) if total else 0.0}
        for row, of_row, total in zip(names[0], table, of_rows.tolist(), strict=True)
        for column, n in zip(names[1], of_row.tolist(), strict=True)
    ]
    step = _WIDEST if _WIDEST * len(names[1]) <= _ACROSS else max(56, _ACROSS // len(names[1]))
    axes = {
        "y": {"field": "row", "type": "nominal", "sort": None, "title": sides[0], "axis": {"labelLimit": _LONGEST}},
        "x": {"field": "column", "type": "nominal", "sort": None, "title": sides[1], "axis": _above(names[1], step)},
        "tooltip": [{"field": field} for field in ("row", "column", "count", "share")],
    }
    colour = {"field": "share", "type": "quantitative", "scale": {"scheme": "blues", "domain": [0, 1]}, "legend": None}
    ink = {"condition": {"test": "datum.share > 0.5", "value": "white"}, "value": "black"}
    same = (
        f"{row}: {whole(int(n))} of {whole(int(total))} as itself"
        for row, n, total in zip(names[0], np.diag(table), of_rows, strict=False)
    )
    return Chart(
        name,
        title,
        caption,
        f"Rows: {sides[0]}; columns: {sides[1]}. {'; '.join(same)}.",
        {
            "data": {"values": values},
            "width": {"step": step},
            "height": {"step": 30},
            "encoding": axes,
            "layer": [
                {"mark": "rect", "encoding": {"color": colour}},
                {"mark": "text", "encoding": {"text": {"field": "count", "type": "quantitative"}, "color": ink}},
            ],
        },
    )
