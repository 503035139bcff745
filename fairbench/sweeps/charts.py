"""The figures of a sweep: bias against each price, and every axis of every arm, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fairbench.display.numbers import with_interval
from fairbench.pages.chart import GREY, PALETTE, Chart, Spec
from fairbench.sweeps.arms import BASE
from fairbench.sweeps.axes import BIAS, Axis
from fairbench.sweeps.result import Result, front
from fairbench.sweeps.words import places

_SIZE: Final = 260
_COLUMNS: Final = 2
_LIMITS: Final = ("mean", "low", "high")


def charts(result: Result) -> list[Chart]:
    """Return the figures; none without the axis of bias, or without a price."""
    bias = next((axis for axis in result.axes if axis.name == BIAS), None)
    prices = [axis for axis in result.axes if axis.name != BIAS]
    return [_pareto(result, bias, prices)] if bias and prices else []


def _pareto(result: Result, bias: Axis, prices: Sequence[Axis]) -> Chart:
    """Return bias against each price: a panel per price, a point per arm with both intervals."""
    names = [BASE, *(arm.name for arm in result.arms)]
    trainers = list(dict.fromkeys(arm.trainer for arm in result.arms))
    colours = {"domain": [*trainers, BASE], "range": [*PALETTE[: len(trainers)], GREY]}
    encoding: Spec = {"color": {"field": "trainer", "type": "nominal", "scale": colours, "title": "trainer"}}
    panels = [_panel(list(_points(result, bias, price, names)), bias, price) for price in prices]
    spec: Spec = {
        "concat": [{**panel, "encoding": encoding} for panel in panels],
        "columns": _COLUMNS,
        "resolve": {"scale": {"color": "shared", "shape": "shared"}},
    }
    caption = (
        "A panel per price; down is less bias, right is less of the price paid. Points: means over trainings; lines: "
        f"95 % intervals over them (Student's, {len(result.seeds)} trainings). Filled: no other arm's means are better "
        "in both. The shape is the share of capability data. A place on the front is no test: see the text above. Long "
        "intervals are cut at the frame; the tables have their limits."
    )
    return Chart("pareto", "Bias against each price", caption, _alt(result, names), spec)


def _points(result: Result, bias: Axis, price: Axis, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    best, of = front(result, price.name), {arm.name: arm for arm in result.arms}
    for name in names:
        found = result.summaries[name]
        if bias.name not in found or price.name not in found:
            continue
        arm = of.get(name)
        row: dict[str, Any] = {"arm": name, "trainer": arm.trainer if arm else BASE, "front": name in best}
        row["retain"] = "none" if arm is None else "control" if arm.control else arm.retain
        for prefix, axis in (("bias", bias), ("price", price)):
            row |= {f"{prefix}-{end}": getattr(found[axis.name], end) for end in _LIMITS}
        yield row


def _panel(points: list[dict[str, Any]], bias: Axis, price: Axis) -> Spec:
    worse_right = {"sort": "descending"} if price.better == "lower" else {}
    x: Spec = {"type": "quantitative", "title": f"{price.title} ({price.better} is better)", **worse_right}
    y: Spec = {"type": "quantitative", "title": "bias", "scale": _domain(points, "bias", bias)}
    x["scale"] = _domain(points, "price", price)
    ends = {"x": {**x, "field": "price-mean"}, "y": {**y, "field": "bias-mean"}}
    line = {"type": "rule", "opacity": 0.45, "strokeWidth": 1.5, "clip": True}
    mark = {"type": "point", "size": 90, "strokeWidth": 2}
    shape = {"field": "retain", "type": "nominal", "title": "capability data"}
    told = [{"field": name} for name in ("arm", *(f"{p}-{end}" for p in ("bias", "price") for end in _LIMITS))]
    across = {"x": {**x, "field": "price-low"}, "x2": {"field": "price-high"}, "y": ends["y"]}
    upright = {"y": {**y, "field": "bias-low"}, "y2": {"field": "bias-high"}, "x": ends["x"]}
    return {
        "data": {"values": points},
        "width": _SIZE,
        "height": _SIZE,
        "layer": [
            {"mark": line, "encoding": across},
            {"mark": line, "encoding": upright},
            *(
                {"mark": mark | {"filled": front}, "transform": [{"filter": f"datum.front == {str(front).lower()}"}]}
                | {"encoding": {**ends, "shape": shape, "tooltip": told}}
                for front in (True, False)
            ),
        ],
    }


def _domain(points: list[dict[str, Any]], name: str, axis: Axis) -> Spec:
    """Return the scale of an axis: all means, and of intervals as far as they reach twice the means' range beyond."""
    means = [point[f"{name}-mean"] for point in points]
    room = 2 * max(max(means) - min(means), axis.margin)
    low = max(min(point[f"{name}-low"] for point in points), min(means) - room)
    high = min(max(point[f"{name}-high"] for point in points), max(means) + room)
    ease = 0.05 * max(high - low, axis.margin)
    return {"domain": [low - ease, high + ease], "nice": False}


def _alt(result: Result, names: Sequence[str]) -> str:
    """Return the numbers of the figure in words."""
    said = []
    for name in names:
        found = result.summaries[name]
        known = [(axis, found[axis.name]) for axis in result.axes if axis.name in found]
        cells = (f"{a.name} {with_interval(of.mean, of.low, of.high, places(of.mean))}" for a, of in known)
        said.append(f"{name}: {', '.join(cells)}")
    return f"{len(names)} arms. {'; '.join(said)}."
