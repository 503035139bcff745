"""The charts of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairbench.display.labels import spaced
from fairbench.pages.chart import BLUE, GREY, ORANGE, PALETTE, Chart, Spec

if TYPE_CHECKING:
    import pandas as pd

_ROW: Final = 15
"""Height of a prompt in pixels."""
_WIDTH: Final = 520
_BINS: Final = 20
_ABOVE: Final = {"labelAngle": 0, "orient": "top"}
_SHARE: Final = {"scale": {"domain": [0, 1]}, "axis": {"format": ".0%", "tickCount": 5}}


def shares(attribute: str, table: pd.DataFrame, reference: Mapping[str, Sequence[float]]) -> Chart | None:
    """Return the share of each class in every prompt with its interval; of two classes, of the first alone.

    table: columns subject, class, share, ci_low, ci_high, n. reference: subject -> shares in the order of the classes,
    as of a workforce; empty where there is none. None where no prompt has a face.
    """
    table = table[table["share"].notna()]
    if table.empty:
        return None
    classes = list(dict.fromkeys(table["class"]))
    shown = classes[:1] if len(classes) == 2 else classes
    values = [
        {
            "subject": row["subject"],
            "class": row["class"],
            "share": row["share"],
            "low": row["ci_low"],
            "high": row["ci_high"],
            "faces": row["n"],
            "reference": reference[row["subject"]][classes.index(row["class"])]
            if row["subject"] in reference
            else None,
        }
        for row in table[table["class"].isin(shown)].to_dict("records")
    ]
    first = [v for v in values if v["class"] == shown[0]]
    order = [v["subject"] for v in sorted(first, key=lambda v: -v["share"])]
    y = {"field": "subject", "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 240}}
    x = {"field": "share", "type": "quantitative", "title": None, **_SHARE}
    layers: list[Spec] = [
        {"mark": {"type": "bar", "color": BLUE, "opacity": 0.35}, "encoding": {"x": x}},
        {"mark": {"type": "rule", "color": BLUE}, "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}}},
        {
            "mark": {"type": "rule", "strokeDash": [4, 3], "color": GREY},
            "encoding": {"x": {"datum": 1 / len(classes), "type": "quantitative"}, "y": None},
        },
    ]
    known = any(v["reference"] is not None for v in values)
    if known:
        tick = {"type": "point", "shape": "diamond", "filled": True, "size": 45, "color": ORANGE}
        layers.append({"mark": tick, "encoding": {"x": {**x, "field": "reference"}}})
    tooltip = [
        {"field": name} for name in ("subject", "class", "share", "low", "high", "faces", *([known] if known else []))
    ]
    width = _WIDTH if len(shown) == 1 else max(80, _WIDTH // len(shown) - 12)
    inner: Spec = {"width": width, "height": {"step": _ROW}, "encoding": {"y": y, "tooltip": tooltip}, "layer": layers}
    spec: Spec = (
        inner
        if len(shown) == 1
        else {"facet": {"column": {"field": "class", "title": None, "sort": shown}}, "spec": inner}
    )
    of = f"the share of {shown[0]}" if len(shown) == 1 else "the share of each class"
    beside = " Orange diamonds: the task's reference." if known else ""
    highest, lowest = (pick(first, key=lambda v: v["share"]) for pick in (max, min))
    return Chart(
        f"shares-{attribute}",
        f"{spaced(attribute)}: {of} in every prompt",
        f"Bars: share of the faces of a prompt; lines: 95 % intervals; dashed: balance.{beside}",
        f"{len(order)} prompts. The share of {shown[0]} is largest for {highest['subject']} ({highest['share']:.0%}) "
        f"and smallest for {lowest['subject']} ({lowest['share']:.0%}); balance is {1 / len(classes):.0%}.",
        {"data": {"values": values}, **spec},
        click=True,
    )


def concentrations(attribute: str, table: pd.DataFrame, fair: float | None) -> Chart | None:
    """Return the concentration of every prompt. table: columns subject, value, ci_low, ci_high, n.

    fair: what a fair model reads on average, None where that is not known.
    """
    table = table[table["value"].notna()].sort_values("value", ascending=False, kind="stable")
    if table.empty:
        return None
    values = [{"subject": r["subject"], "concentration": r["value"], "faces": r["n"]} for r in table.to_dict("records")]
    y = {"field": "subject", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 240}}
    x = {"field": "concentration", "type": "quantitative", "title": "0: even, 1: one group alone"}
    layers: list[Spec] = [
        {"mark": {"type": "point", "filled": True, "size": 40, "color": BLUE}, "encoding": {"x": x, "y": y}}
    ]
    if fair is not None:
        rule = {"type": "rule", "strokeDash": [4, 3], "color": GREY}
        layers.append({"mark": rule, "encoding": {"x": {"datum": fair, "type": "quantitative"}}})
    tooltip = [{"field": name} for name in ("subject", "concentration", "faces")]
    layers[0]["encoding"]["tooltip"] = tooltip
    first, last = values[0], values[-1]
    return Chart(
        f"concentration-{attribute}",
        f"{spaced(attribute)}: concentration in every prompt",
        "As read, without an interval: single prompts are noisy, and the largest of many looks larger than it is."
        + ("" if fair is None else " Dashed: what a fair model reads on average."),
        f"{len(values)} prompts, from {first['concentration']:.2f} ({first['subject']}) "
        f"to {last['concentration']:.2f} ({last['subject']}).",
        {"data": {"values": values}, "width": _WIDTH, "height": {"step": _ROW}, "layer": layers},
        click=True,
    )


def plane(attribute: str, cells: Sequence[tuple[str, str, float]]) -> Chart:
    """Return the shares of a cross of two attributes as a table of fields. cells: (row, column, mean share)."""
    values: list[dict[str, Any]] = [{"row": row, "column": column, "share": share} for row, column, share in cells]
    axes = {
        "y": {"field": "row", "type": "nominal", "sort": None, "title": None},
        "x": {
            "field": "column",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": {"labelAngle": 0, "orient": "top"},
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
            "width": {"step": 84},
            "height": {"step": 44},
            "encoding": axes,
            "layer": [
                {"mark": "rect", "encoding": {"color": colour}},
                {"mark": {"type": "text", "fontSize": 13}, "encoding": {"text": text, "color": ink}},
            ],
        },
    )


def probabilities(of_attribute: Mapping[str, Sequence[float]]) -> Chart | None:
    """Return how sure the labeller is: histograms of the probability of the label that was read, per attribute."""
    values, sure = [], []
    for attribute, known in of_attribute.items():
        if not known:
            continue
        probs = np.asarray(known)
        counts, edges = np.histogram(probs, bins=_BINS, range=(0.0, 1.0))
        values += [
            {"attribute": spaced(attribute), "from": float(a), "to": float(b), "faces": int(n)}
            for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
        sure.append(f"{spaced(attribute)}: {np.mean(probs >= 0.9):.0%} of {len(probs)} faces at .9 or more")
    if not values:
        return None
    x = {"field": "from", "type": "quantitative", "bin": {"binned": True}, "title": "probability of the label"}
    inner = {
        "width": 240,
        "height": 130,
        "mark": {"type": "bar", "color": BLUE},
        "encoding": {
            "x": {**x, **_SHARE},
            "x2": {"field": "to"},
            "y": {"field": "faces", "type": "quantitative"},
            "tooltip": [{"field": name} for name in ("attribute", "from", "to", "faces")],
        },
    }
    facet = {"column": {"field": "attribute", "title": None}}
    return Chart(
        "probabilities",
        "How sure the labeller is",
        "Faces by the probability of the label that was read. Sure is not right: only a calibration counts errors.",
        f"{'; '.join(sure)}.",
        {"data": {"values": values}, "facet": facet, "spec": inner},
    )


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
