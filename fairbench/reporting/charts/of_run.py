"""The charts of one run: its prompts, and how sure its labeller is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairbench.display.labels import spaced
from fairbench.measure.counts import telling
from fairbench.pages.chart import BLUE, ORANGE, Chart, Spec
from fairbench.reporting.charts import layers as layers_of

if TYPE_CHECKING:
    import pandas as pd

_ROW: Final = 15
"""Height of a prompt in pixels."""
_WIDTH: Final = 520
_GAP: Final = 16
"""Between columns, in pixels; the library leaves 20."""
_REFERENCE: Final = (
    "the task's reference, as of a workforce. Such shares are of what people report of themselves, and say nothing of "
    "how anyone looks; they are no target."
)
_BINS: Final = 20
_SHARE: Final = {"scale": {"domain": [0, 1]}, "axis": {"format": ".0%", "tickCount": 5}}


def shares(attribute: str, table: pd.DataFrame, reference: Mapping[str, Sequence[float]]) -> Chart | None:
    """Return the share of each class in every prompt with its interval; of two classes, of the first alone.

    table: columns name (of the prompt), class, share, ci_low, ci_high, n. reference: name -> shares in the order of the
    classes, as of a workforce; empty where there is none. None where no prompt has a face.
    """
    table = table[table["share"].notna()]
    if table.empty:
        return None
    classes = list(dict.fromkeys(table["class"]))
    shown = list(telling(classes))
    values = [
        {
            "name": row["name"],
            "class": row["class"],
            "share": row["share"],
            "low": _number(row["ci_low"]),
            "high": _number(row["ci_high"]),
            "faces": row["n"],
            "reference": reference[row["name"]][classes.index(row["class"])] if row["name"] in reference else None,
        }
        for row in table[table["class"].isin(shown)].to_dict("records")
    ]
    first = [v for v in values if v["class"] == shown[0]]
    order = [v["name"] for v in sorted(first, key=lambda v: -v["share"])]
    y = layers_of.rows("name", order)
    x = {"field": "share", "type": "quantitative", "title": None, **_SHARE}
    bar = {"type": "bar", "color": BLUE, "opacity": 0.35}
    balance = layers_of.line(1 / len(classes))
    layers = [{"mark": bar, "encoding": {"x": x}}, *layers_of.intervals(values, x), balance]
    known = any(v["reference"] is not None for v in values)
    if known:
        tick = {"type": "point", "shape": "diamond", "filled": True, "size": 45, "color": ORANGE}
        layers.append({"mark": tick, "encoding": {"x": {**x, "field": "reference"}}})
    tooltip = [
        {"field": name}
        for name in ("name", "class", "share", "low", "high", "faces", *(["reference"] if known else []))
    ]
    # Names of classes stand whole above their columns, unless they are very long.
    width = _WIDTH if len(shown) == 1 else max(80, _WIDTH // len(shown) - 12, 7 * min(24, max(map(len, shown))) - _GAP)
    header = {"labelLimit": width + _GAP}
    inner: Spec = {"width": width, "height": {"step": _ROW}, "encoding": {"y": y, "tooltip": tooltip}, "layer": layers}
    spec: Spec = (
        inner
        if len(shown) == 1
        else {"facet": {"column": {"field": "class", "title": None, "sort": shown, "header": header}}, "spec": inner}
    )
    spec |= layers_of.of_height(len(order))
    of = f"the share of {shown[0]}" if len(shown) == 1 else "the share of each class"
    beside = f" Orange diamonds: {_REFERENCE}" if known else ""
    highest, lowest = (pick(first, key=lambda v: v["share"]) for pick in (max, min))
    return Chart(
        f"shares-{attribute}",
        f"{spaced(attribute)}: {of} in every prompt",
        f"Bars: share of the faces of a prompt; lines: 95 % intervals; dashed: balance.{beside}",
        f"{len(order)} prompts. The share of {shown[0]} is largest for {highest['name']} ({highest['share']:.0%}) "
        f"and smallest for {lowest['name']} ({lowest['share']:.0%}); balance is {1 / len(classes):.0%}."
        f"{_beside_reference(first)}",
        {"data": {"values": values}, **spec},
        click=True,
    )


def _beside_reference(values: Sequence[Mapping[str, Any]]) -> str:
    """Return how the shares of a class lie beside their references, in words; empty where there are none."""
    known = [v for v in values if v["reference"] is not None]
    if not known:
        return ""
    shown, reference = (sum(v[name] for v in known) / len(known) for name in ("share", "reference"))
    return (
        f" Over the {len(known)} prompts with a reference it is {shown:.0%} on average, and the reference "
        f"{reference:.0%}; it lies below the reference in {sum(v['share'] < v['reference'] for v in known)} of them."
    )


def concentrations(attribute: str, rows: Sequence[Mapping[str, Any]], fair: float | None, words: str) -> Chart | None:
    """Return the concentration of every prompt that has one, with intervals.

    rows: see `Run.worst_prompts`, with each prompt's name. fair: what a fair model reads on average, None where that is
    not known. words: what may be said of all prompts.
    """
    known = sorted((row for row in rows if _number(row["shrunk"]) is not None), key=lambda row: -row["shrunk"])
    if not known:
        return None
    values = [
        {
            "name": row["name"],
            "concentration": _number(row["raw"]),
            "shrunk": row["shrunk"],
            "low": _number(row["ci_low"]),
            "high": _number(row["ci_high"]),
            "q": _number(row["q"]),
            "leads": row["leads"],
            "faces": row["n_faces"],
        }
        for row in known
    ]
    order = [value["name"] for value in values]
    y = layers_of.rows("name", order)
    x = {"field": "shrunk", "type": "quantitative", "title": "0: even, 1: one group alone"}
    dot = {"type": "point", "filled": True, "size": 40, "color": BLUE}
    ring = {"type": "point", "filled": False, "size": 30, "color": ORANGE}
    layers: list[Spec] = [*layers_of.intervals(values, x), {"mark": dot, "encoding": {"x": x}}]
    if any(value["concentration"] is not None for value in values):
        known = [{"filter": "isValid(datum.concentration)"}]
        layers.insert(-1, {"transform": known, "mark": ring, "encoding": {"x": {**x, "field": "concentration"}}})
    if fair is not None:
        layers.append(layers_of.line(fair))
    first, last = values[0], values[-1]
    return Chart(
        f"concentration-{attribute}",
        f"{spaced(attribute)}: concentration in every prompt",
        "Rings: as read, which is noisy. Dots and lines: drawn towards the other prompts, the further the fewer the "
        "faces, with intervals that cover 95 % on average over prompts."
        + ("" if fair is None else " Dashed: what a fair model reads on average.")
        + f" {words}",
        f"{len(values)} prompts, from {_with_limits(first)} to {_with_limits(last)}. {words}",
        layers_of.by_row(values, y, layers, list(values[0]), width=_WIDTH, step=_ROW),
        click=True,
    )


def _number(value: float) -> float | None:
    """Return the number; None for NaN, which JSON does not know."""
    return value if math.isfinite(value) else None


def _with_limits(value: Mapping[str, Any]) -> str:
    limits = "" if value["low"] is None else f" [{value['low']:.2f}, {value['high']:.2f}]"
    return f"{value['shrunk']:.2f}{limits} ({value['name']})"


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
