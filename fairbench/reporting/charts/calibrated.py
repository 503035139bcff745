"""The charts of a calibration: how often the labeller read each class right, and as what it read the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from fairbench.display.labels import spaced
from fairbench.display.numbers import whole, with_interval
from fairbench.labelling.confusion import NO_PERSON, Calibration
from fairbench.pages.chart import BLUE, Chart
from fairbench.reporting.charts import fields, layers
from fairbench.stats.bounds import share_interval

_WIDTH: Final = 440


def charts(calibration: Calibration) -> Iterator[Chart]:
    """Yield the recall of every class, and the table of errors of every attribute."""
    yield recall(calibration)
    for attribute in calibration.attributes:
        part = calibration.margin((attribute,))
        yield fields.confusion(
            f"calibration-{attribute}",
            f"{spaced(attribute)}: the labeller's errors, as calibrated",
            f"Images: {part.domain}. Colour: the share of the row. What is adjusted rests on this table.",
            ("true", "read as"),
            (list(map(" ".join, part.rows)), list(map(" ".join, part.columns))),
            part.counts,
        )


def recall(calibration: Calibration) -> Chart:
    """Return how often each class of each attribute was read right, of the images whose face was read."""
    values = [value for attribute in calibration.attributes for value in _of_attribute(calibration, attribute)]
    y = layers.rows("group", [v["group"] for v in values])
    axis = {"format": ".0%", "tickCount": 5}
    x = {"field": "recall", "type": "quantitative", "title": "read right", "scale": {"domain": [0, 1]}, "axis": axis}
    point = {"type": "point", "filled": True, "size": 50, "color": BLUE}
    known = [{"filter": "isValid(datum.recall)"}]
    read = any(value["read"] for value in values)
    points = [{"transform": known, "mark": point, "encoding": {"x": x}}] if read else []
    return Chart(
        "recall",
        "How often the labeller is right, as calibrated",
        f"Images: {calibration.domain}. Points: of the images of a class whose face was read (n), the share that was "
        "read as it; lines: Jeffreys' 95 % intervals. On other images it may be right more or less often.",
        f"{'; '.join(map(_words, values))}.",
        layers.by_row(values, y, [*layers.intervals(values, x), *points], list(values[0]), width=_WIDTH, step=22),
    )


def _of_attribute(calibration: Calibration, attribute: str) -> Iterator[dict[str, Any]]:
    part = calibration.margin((attribute,))
    for row, (label, counts) in enumerate(zip(part.rows, part.counts, strict=True)):
        if label == NO_PERSON:
            continue
        read, right = int(counts[:-1].sum()), int(counts[row])
        low, high = (float(limits[0]) for limits in share_interval(np.array([right, read - right])))
        yield {
            "group": f"{spaced(attribute)}: {' '.join(label)} (n = {whole(read)})",
            "recall": right / read if read else None,
            "low": low if read else None,
            "high": high if read else None,
            "right": right,
            "read": read,
            "no face": int(counts[-1]),
        }


def _words(value: dict[str, Any]) -> str:
    missed = f", {whole(value['no face'])} without a face" if value["no face"] else ""
    if value["recall"] is None:
        return f"{value['group']}{missed}"
    return f"{value['group']} {with_interval(value['recall'], value['low'], value['high'])}{missed}"
