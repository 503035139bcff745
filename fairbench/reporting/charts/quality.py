"""The chart of quality by perceived group."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value
from fairbench.pages.chart import BLUE, ORANGE, Chart
from fairbench.reporting.charts import layers
from fairbench.runs.quality import GroupQuality

_WIDTH: Final = 440
_LEVEL: Final = 0.05
_CAPTION: Final = (
    "Each point: how far images of the class score above the other images of their own prompt, on average, with its "
    "95 % interval; prompts cannot cause it. A scorer can itself prefer faces that look prototypical of what a prompt "
    "names, so a difference may be the scorer's and not the pictures'. Errors of the labeller draw it towards 0."
)


_VARIETY: Final = (
    "Each point: how much more varied the images of the class are than those of each other class of their own prompt, "
    "as the encoder sees them, with the 95 % interval over prompts. An encoder can itself tell the faces of some "
    "groups apart less well."
)
_REFERENCE: Final = (
    "Orange diamonds: the same of the reference's pictures, which is the scorer's own; what counts is how far a point "
    "is from its diamond."
)
_WHAT: Final = {"score": "", "distance": " mean distance", "vendi": " Vendi score"}


def by_group(contrasts: Sequence[GroupQuality]) -> Chart | None:
    """Return the contrasts of one scorer's measure, class by class; None where no prompt shows a class and others."""
    values = [_value(each) for each in contrasts if math.isfinite(each.contrast.estimate)]
    if not values:
        return None
    measure, known = contrasts[0].measure, any(v["reference"] is not None for v in values)
    scorer = f"{contrasts[0].scorer}{_WHAT.get(measure, '')}{_at(contrasts)}"
    if not known:
        values = [{name: v for name, v in value.items() if name not in _OF_REFERENCE} for value in values]
    y = layers.rows("group", [v["group"] for v in values])
    x = {"field": "difference", "type": "quantitative", "title": f"{scorer}: class minus others, within prompts"}
    point = {"type": "point", "filled": True, "size": 50, "color": BLUE}
    drawn = [layers.line(0), *layers.intervals(values, x), {"mark": point, "encoding": {"x": x}}]
    if known:
        tick = {"type": "point", "shape": "diamond", "filled": True, "size": 45, "color": ORANGE}
        drawn.append({"mark": tick, "encoding": {"x": {**x, "field": "reference"}}})
    caption = f"{_CAPTION if measure == 'score' else _VARIETY}{f' {_REFERENCE}' if known else ''}"
    name = contrasts[0].scorer if measure == "score" else f"{contrasts[0].scorer}-{measure}"
    return Chart(
        f"quality-{re.sub('[^A-Za-z0-9-]', '-', name)}",  # it names a file
        f"{'Quality' if measure == 'score' else 'Variety'} by perceived group: {scorer}",
        f"{caption} {_shown(contrasts)}",
        f"{'; '.join(map(_words, values))}. {_shown(contrasts)}",
        layers.by_row(values, y, drawn, list(values[0]), width=_WIDTH, step=22),
    )


def _at(contrasts: Sequence[GroupQuality]) -> str:
    """Return at how many images per class and prompt a measure was taken; attributes may differ."""
    sizes = sorted({each.size for each in contrasts if each.size})
    return f" at {' or '.join(map(str, sizes))} images" if sizes else ""


def _value(each: GroupQuality) -> dict[str, Any]:
    low, high = (limit if math.isfinite(limit) else None for limit in each.contrast.interval())
    return {
        "group": _group(each),
        "difference": each.contrast.estimate,
        "low": low,
        "high": high,
        "p": p_value(each.p),
        "reference": _finite(each.reference.estimate) if each.reference is not None else None,
        "beyond the reference": _finite(each.net.estimate) if each.net is not None else None,
        "its p": p_value(each.net_p),
        "prompts": each.contrast.prompts,
        "images": each.contrast.of_class,
        "others": each.contrast.of_others,
    }


_OF_REFERENCE: Final = ("reference", "beyond the reference", "its p")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _group(each: GroupQuality) -> str:
    return f"{spaced(each.attribute)}: {each.label}"


def _words(value: dict[str, Any]) -> str:
    limits = "" if value["low"] is None else f" [{number(value['low'], sign=True)}, {number(value['high'], sign=True)}]"
    counts = f"{value['images']} images and {value['others']} others in {value['prompts']} prompts"
    gap = value.get("reference")
    beside = "" if gap is None else f", reference {number(gap, sign=True)}"
    return f"{value['group']} {number(value['difference'], sign=True)}{limits} ({counts}{beside})"


def _shown(contrasts: Sequence[GroupQuality]) -> str:
    """Return which classes are shown to differ, and how many could be tested."""
    beyond = any(each.net is not None for each in contrasts)
    p = {each: each.net_p if beyond else each.p for each in contrasts}
    tests = [each for each in contrasts if math.isfinite(p[each])]
    if not tests:
        return "There are too few images for an interval."
    untested = "" if len(tests) == len(contrasts) else " Those without a line have too few images for an interval."
    found = [f"{_group(each)} (p {p_value(p[each])})" for each in tests if p[each] <= _LEVEL]
    of = "one test" if len(tests) == 1 else f"{len(tests)} tests (Holm)"
    what = "Shown to differ beyond the reference" if beyond else "Shown to differ"
    return f"{what}, by {of}: {', '.join(found) or 'none'}.{untested}"
