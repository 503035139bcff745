"""The chart of quality by perceived group."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value
from fairbench.pages.chart import BLUE, Chart
from fairbench.reporting.charts import layers
from fairbench.runs.quality import GroupQuality

_WIDTH: Final = 440
_LEVEL: Final = 0.05
_CAPTION: Final = (
    "Each point: how far images of the class score above the other images of their own prompt, on average, with its "
    "95 % interval; prompts cannot cause it. A scorer can itself prefer faces that look prototypical of what a prompt "
    "names, so a difference may be the scorer's and not the pictures'. Errors of the labeller draw it towards 0."
)


def by_group(contrasts: Sequence[GroupQuality]) -> Chart | None:
    """Return the contrasts of one scorer's values, class by class; None where no prompt shows a class and others."""
    values = [_value(each) for each in contrasts if math.isfinite(each.contrast.estimate)]
    if not values:
        return None
    scorer = contrasts[0].scorer
    y = layers.rows("group", [v["group"] for v in values])
    x = {"field": "difference", "type": "quantitative", "title": f"{scorer}: class minus others, within prompts"}
    point = {"type": "point", "filled": True, "size": 50, "color": BLUE}
    drawn = [layers.line(0), *layers.intervals(values, x), {"mark": point, "encoding": {"x": x}}]
    return Chart(
        f"quality-{re.sub('[^A-Za-z0-9-]', '-', scorer)}",  # it names a file
        f"Quality by perceived group: {scorer}",
        f"{_CAPTION} {_shown(contrasts)}",
        f"{'; '.join(map(_words, values))}. {_shown(contrasts)}",
        layers.by_row(values, y, drawn, list(values[0]), width=_WIDTH, step=22),
    )


def _value(each: GroupQuality) -> dict[str, Any]:
    low, high = (limit if math.isfinite(limit) else None for limit in each.contrast.interval())
    return {
        "group": _group(each),
        "difference": each.contrast.estimate,
        "low": low,
        "high": high,
        "p": p_value(each.p),
        "prompts": each.contrast.prompts,
        "images": each.contrast.of_class,
        "others": each.contrast.of_others,
    }


def _group(each: GroupQuality) -> str:
    return f"{spaced(each.attribute)}: {each.label}"


def _words(value: dict[str, Any]) -> str:
    limits = "" if value["low"] is None else f" [{number(value['low'], sign=True)}, {number(value['high'], sign=True)}]"
    counts = f"{value['images']} images and {value['others']} others in {value['prompts']} prompts"
    return f"{value['group']} {number(value['difference'], sign=True)}{limits} ({counts})"


def _shown(contrasts: Sequence[GroupQuality]) -> str:
    """Return which classes are shown to differ, and how many could be tested."""
    tests = [each for each in contrasts if math.isfinite(each.p)]
    if not tests:
        return "There are too few images for an interval."
    untested = "" if len(tests) == len(contrasts) else " Those without a line have too few images for an interval."
    found = [f"{_group(each)} (p {p_value(each.p)})" for each in tests if each.p <= _LEVEL]
    of = "one test" if len(tests) == 1 else f"{len(tests)} tests (Holm)"
    return f"Shown to differ, by {of}: {', '.join(found) or 'none'}.{untested}"
