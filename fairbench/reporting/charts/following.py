"""The charts of prompts that state whom to show, and of those whose words or setting leave hardly a choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value, with_interval
from fairbench.measure.series import FACES
from fairbench.pages.chart import BLUE, GREY, ORANGE, Chart, Spec
from fairbench.reporting.charts import layers
from fairbench.runs.following import Group

_WIDTH: Final = 440
_STEP: Final = 22
_TALL: Final = 30
"""Height of a row that shows values as read and, below these, values with errors undone."""
_UP: Final = {"yOffset": -6}
_DOWN: Final = {"yOffset": 6}
_SHARE: Final = {"scale": {"domain": [0, 1], "clamp": True}, "axis": {"format": ".0%", "tickCount": 5}}
_RECALL: Final = (
    "Orange diamonds: how often the labeller reads the group right, which a model that always follows would read."
)


def charts(groups: Sequence[Group], gap: Group | None, customary: Sequence[Group], words: str) -> Iterator[Chart]:
    """Yield following by stated group, the gap that a stereotype makes, and customary readings, where there are any.

    words: what tests of the groups show.
    """
    known = [g for g in groups if g.read["value"] is not None]
    unread = dict.fromkeys(spaced(g.attribute) for g in groups if g not in known)
    if known:
        yield by_group(known, f"{words} Without a value: {', '.join(unread)}." if unread else words)
    if gap is not None and gap.read["value"] is not None:
        yield stereotype(gap)
    if customary:
        yield readings(customary)


def by_group(groups: Sequence[Group], words: str) -> Chart:
    """Return following of every stated group, as read and with errors undone, beside the labeller's recall."""
    values = [_value(g) for g in groups]
    return Chart(
        "following",
        "Following, by what prompts state",
        f"{_marks(groups)} {_recall(values)} {words}".strip(),
        f"{'; '.join(map(_words, values))}. {words}",
        _spec(values, "share of faces that show what their prompt states"),
    )


def readings(customary: Sequence[Group]) -> Chart:
    """Return the share showing the customary reading, by what makes it customary."""
    values = [{**_value(g), "recall": None, "even": g.read["floor"]} for g in customary]
    spec = _spec(values, "share showing the customary reading")
    return Chart(
        "customary-readings",
        "Share showing the customary reading",
        f"Of prompts whose words (by definition) or setting (by custom) leave an attribute hardly open. A description, "
        f"never of being correct: neither direction is better. {_marks(customary)} Grey diamonds: what a model would "
        "read that draws all groups equally often.",
        f"{'; '.join(map(_words, values))}. A description, never of being correct.",
        spec,
    )


def stereotype(gap: Group) -> Chart:
    """Return how much less prompts are followed that state what is rare in a subject."""
    named = [("as read", gap.read), *zip(_estimates(gap), gap.adjusted, strict=True)]
    values = [
        {"estimate": name, "gap": row["value"], "low": row["ci_low"], "high": row["ci_high"]} for name, row in named
    ]
    x = {
        "field": "gap",
        "type": "quantitative",
        "title": "following along - against the stereotype",
        "axis": {"tickCount": 6},
    }
    point = {"type": "point", "filled": True, "size": 50, "color": BLUE}
    drawn = [layers.line(0), *layers.intervals(values, x), {"mark": point, "encoding": {"x": x}}]
    shown = f"p of no gap: {p_value(gap.p)}."
    y = layers.rows("estimate", [v["estimate"] for v in values])
    words = "; ".join(f"{v['estimate']} {_signed(v['gap'], v['low'], v['high'])}" for v in values)
    return Chart(
        "stereotype-gap",
        "What the stereotype costs: following along minus against it",
        "Along: prompts that state the group that is frequent in the occupation; against: the rare one. Right of the "
        f"dashed line, stating the rare group is followed less. Lines: 95 % intervals. {shown}",
        f"{words}. {shown}",
        layers.by_row(values, y, drawn, list(values[0]), width=_WIDTH, step=_STEP),
    )


def _estimates(gap: Group) -> list[str]:
    ends = ["errors undone"] if len(gap.adjusted) == 1 else ["errors undone, lowest", "errors undone, highest"]
    return ends[: len(gap.adjusted)]


def _signed(value: float, low: float | None, high: float | None) -> str:
    limits = "" if low is None or high is None else f" [{number(low, sign=True)}, {number(high, sign=True)}]"
    return f"{number(value, sign=True)}{limits}"


def _value(g: Group) -> dict[str, Any]:
    ends = [row["value"] for row in g.adjusted]
    known = [row for row in g.adjusted if row["ci_low"] is not None]
    right, of = g.recall or (0, 0)
    side = {FACES: ""}.get(g.attribute, f"{spaced(g.attribute)}: ")
    return {
        "group": f"{side}{g.name}",
        "read": g.read["value"],
        "low": g.read["ci_low"],
        "high": g.read["ci_high"],
        "adjusted from": min(ends, default=None),
        "adjusted to": max(ends, default=None),
        "adjusted low": min((row["ci_low"] for row in known), default=None),
        "adjusted high": max((row["ci_high"] for row in known), default=None),
        "recall": right / of if of else g.read["ceiling"],
        "faces": g.read["n_faces"],
        "p": p_value(g.p),
    }


def _spec(values: Sequence[Mapping[str, Any]], title: str) -> Spec:
    """Return the chart: read values as rings with lines, those with errors undone as bars and dots below them."""
    x = {"type": "quantitative", "title": title, **_SHARE}

    def at(field: str) -> Spec:
        return {"field": field, **x}

    drawn: list[Spec] = []
    up, step = ({}, _STEP) if all(v["adjusted low"] is None for v in values) else (_UP, _TALL)
    if up:
        band = {"type": "bar", "size": 8, "color": BLUE, "opacity": 0.3, **_DOWN}
        drawn.append({"mark": band, "encoding": {"x": at("adjusted low"), "x2": {"field": "adjusted high"}}})
        between = {"type": "rule", "size": 3, "color": BLUE, **_DOWN}
        drawn.append({"mark": between, "encoding": {"x": at("adjusted from"), "x2": {"field": "adjusted to"}}})
        dot = {"type": "point", "filled": True, "size": 40, "color": BLUE, **_DOWN}
        drawn += [{"mark": dot, "encoding": {"x": at(f"adjusted {end}")}} for end in ("from", "to")]
    drawn += layers.intervals(values, at("read"), up)
    ring = {"type": "point", "size": 50, "color": GREY, "strokeWidth": 2, **up}
    drawn.append({"mark": ring, "encoding": {"x": at("read")}})
    for field, colour in (("recall", ORANGE), ("even", GREY)):
        if any(v.get(field) is not None for v in values):
            diamond = {"type": "point", "shape": "diamond", "filled": True, "size": 45, "color": colour, **up}
            drawn.append({"mark": diamond, "encoding": {"x": at(field)}})
    y = layers.rows("group", [v["group"] for v in values])
    return layers.by_row(values, y, drawn, list(values[0]), width=_WIDTH, step=step)


def _marks(groups: Sequence[Group]) -> str:
    """Return what rings, dots and lines are."""
    read = "Rings and lines: as read, with 95 % intervals."
    if not any(g.adjusted for g in groups):
        return f"{read} Nothing is adjusted: the labeller's errors are in it."
    several = any(len(g.adjusted) > 1 for g in groups)
    ends = "both ends of the range that they leave, and the interval of both" if several else "values and intervals"
    return f"{read} Blue: with the labeller's errors undone, {ends}, which have the calibration's own error."


def _recall(values: Sequence[Mapping[str, Any]]) -> str:
    return _RECALL if any(v["recall"] is not None for v in values) else ""


def _words(value: Mapping[str, Any]) -> str:
    read = f"{value['group']} {with_interval(value['read'], value['low'], value['high'])}"
    return read if value["recall"] is None else f"{read} (recall {number(value['recall'])})"
