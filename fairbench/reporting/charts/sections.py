"""Charts of a task's categories and of its wordings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, with_interval
from fairbench.pages.chart import BLUE, PALETTE, Chart, Spec
from fairbench.reporting.charts import layers
from fairbench.runs.sections import CONCENTRATION, By, SectionValue

_WIDTH: Final = 520
_COLUMN: Final = 150
"""Width of a class's column in pixels."""
_STEP: Final = 20
_ROW: Final = 17
_MOST: Final = len(PALETTE)
"""Wordings that colours and shapes tell apart."""
_SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left")


def by_section(attribute: str, values: Sequence[SectionValue], by: By) -> Chart | None:
    """Return concentration and the share of each class in every section; None without sections."""
    rows = [_row(v) for v in values if v.attribute == attribute and math.isfinite(v.value)]
    if not rows:
        return None
    names, quantities = (list(dict.fromkeys(row[key] for row in rows)) for key in ("section", "quantity"))
    x = {"field": "value", "type": "quantitative", "title": None, "axis": {"tickCount": 4}}
    point = {"type": "point", "filled": True, "size": 45, "color": BLUE}
    width = _WIDTH if len(quantities) == 1 else _COLUMN
    inner: Spec = {
        "width": width,
        "height": {"step": _STEP},
        "encoding": {"y": layers.rows("section", names), "tooltip": [{"field": name} for name in rows[0]]},
        "layer": [*layers.intervals(rows, x), {"mark": point, "encoding": {"x": x}}],
    }
    header = {"labelLimit": width}
    facet = {"field": "quantity", "title": None, "sort": quantities, "header": header}
    # Three columns beside each other fit a page.
    spec = inner if len(quantities) == 1 else {"facet": facet, "columns": 3, "spec": inner}
    first, *others = [row for row in rows if row["quantity"] == CONCENTRATION] or rows
    shown = [v for v in values if v.attribute == attribute and v.p <= 0.05]
    found = "; ".join(f"{v.section}, {_of(v.quantity)}, {number(v.difference, 2, sign=True)}" for v in shown)
    tests = f"Shown to differ from {names[0]}, adjusted for the number of tests: {found or 'none'}."
    return Chart(
        f"by-{by}-{attribute}",
        f"{spaced(attribute)} by {by} of the prompts",
        f"Points: means over the prompts of a {by}, of concentration or of a class's share; lines: 95 % intervals for "
        f"this list. {tests}",
        f"Concentration: {'; '.join(map(_words, (first, *others)))}. {tests}",
        {"data": {"values": rows}, **spec},
    )


def _of(quantity: str) -> str:
    return quantity if quantity == CONCENTRATION else f"share of {quantity}"


def _row(v: SectionValue) -> dict[str, Any]:
    low, high = (limit if math.isfinite(limit) else None for limit in (v.low, v.high))
    section = {"section": v.section, "quantity": _of(v.quantity), "prompts": v.prompts}
    return {**section, "value": v.value, "low": low, "high": high}


def _words(row: Mapping[str, Any]) -> str:
    return f"{row['section']} {with_interval(row['value'], row['low'], row['high'], 2)}"


def of_wordings(
    attribute: str, subjects: Sequence[str], values: Mapping[str, Sequence[float]], words: str
) -> Chart | None:
    """Return every subject's concentration in each wording; None where no subject has it in two.

    values: wording -> concentration (S,), NaN where it is unknown. words: what may be said of ranks.
    """
    wordings = [*values]
    means = {
        subject: sum(known) / len(known)
        for i, subject in enumerate(subjects)
        if len(known := [values[w][i] for w in wordings if math.isfinite(values[w][i])]) > 1
    }
    if not means or len(wordings) > _MOST:
        return None
    order = sorted(means, key=lambda subject: -means[subject])
    rows = [
        {"subject": subject, "wording": wording, "concentration": values[wording][subjects.index(subject)]}
        for subject in order
        for wording in wordings
        if math.isfinite(values[wording][subjects.index(subject)])
    ]
    x = {"field": "concentration", "type": "quantitative", "title": "0: even, 1: one group alone"}
    legend = {"field": "wording", "type": "nominal", "sort": wordings, "title": None}
    below = {"orient": "top", "columns": 4, "labelLimit": 200}
    colour = {**legend, "legend": below, "scale": {"domain": wordings, "range": list(PALETTE[: len(wordings)])}}
    shape = {**legend, "legend": below, "scale": {"domain": wordings, "range": list(_SHAPES[: len(wordings)])}}
    point = {"type": "point", "filled": True, "size": 50, "opacity": 0.8}
    drawn = [{"mark": point, "encoding": {"x": x, "color": colour, "shape": shape}}]
    of_wording = (f"{w} {sum(k := [v for v in values[w] if math.isfinite(v)]) / max(len(k), 1):.2f}" for w in wordings)
    return Chart(
        f"wordings-{attribute}",
        f"{spaced(attribute)}: concentration of every subject in each wording",
        f"As read, without intervals: single prompts are noisy. {words}",
        f"{len(order)} subjects in {len(wordings)} wordings, from {order[0]} to {order[-1]}. Means: "
        f"{', '.join(of_wording)}. {words}",
        layers.by_row(rows, layers.rows("subject", order), drawn, list(rows[0]), width=_WIDTH, step=_ROW),
    )


def of_variance(rows: Sequence[Mapping[str, Any]], words: str) -> Chart | None:
    """Return the parts of the variance over prompts. rows: attribute, part, share, low, high; None without any."""
    if not rows:
        return None
    values = [{"of": f"{spaced(row['attribute'])}: {row['part']}", **row} for row in rows]
    x = {"field": "share", "type": "quantitative", "title": "share of the variance over prompts"}
    point = {"type": "point", "filled": True, "size": 50, "color": BLUE}
    drawn = [*layers.intervals(values, x), {"mark": point, "encoding": {"x": x}}]
    y = layers.rows("of", [value["of"] for value in values])
    told = (f"{v['of']} {with_interval(v['share'], v['low'], v['high'], 2)}" for v in values)
    return Chart(
        "variance",
        "What varies: subjects, or their wording",
        "The variance of class shares over prompts, without what drawing images adds, divided into what subjects have, "
        f"what wordings have, and what wordings have through single subjects; lines: 95 % intervals. {words}",
        f"{'; '.join(told)}. {words}",
        layers.by_row(values, y, drawn, ["attribute", "part", "share", "low", "high"], width=_WIDTH, step=_ROW),
    )
