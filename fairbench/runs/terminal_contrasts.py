"""Contrasts between the poles of a task's categories, as a table and as a sentence on those that are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from scipy.special import ndtr

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value
from fairbench.display.tables import Column, Table, numbers
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST
from fairbench.runs.terminal_tables import Measured, interval
from fairbench.stats.multiplicity import holm

NOTE: Final = (
    "P(class | low pole) - P(class | high pole), means over prompts; p: of no difference for this list, adjusted "
    "(Holm) over this table. Poles were assigned by the task's authors."
)
_LEVEL: Final = 0.05
_MOST: Final = 6


@dataclass(frozen=True, slots=True)
class Contrast:
    """One row of the table. row, other: of the metrics table; p: adjusted."""

    attribute: str
    dimension: str
    label: str
    row: dict[str, Any]
    other: dict[str, Any] | None
    p: float


def of(measured: Measured) -> list[Contrast]:
    """Return all contrasts of a run, in the order of the metrics table."""
    rows = [r for r in measured.rows if r["metric"].startswith("contrast[") and r["scope"] == THIS_LIST]
    adjusted = holm([_p(r) for r in rows]).tolist() if rows else []
    return [
        Contrast(
            r["attribute"], *_parts(r["metric"]), r, measured.find(r["metric"], "raw", r["attribute"], OTHER_PROMPTS), p
        )
        for r, p in zip(rows, adjusted, strict=True)
    ]


def _p(row: dict[str, Any]) -> float:
    if row["value"] is None or not row["error"]:
        return math.nan
    return float(2 * ndtr(-abs(row["value"]) / row["error"]))


def _parts(metric: str) -> tuple[str, str]:
    dimension, _, label = metric.removeprefix("contrast[").removesuffix("]").rpartition(": ")
    return dimension, label


def table(measured: Measured) -> Table | None:
    """Return every contrast; None for a task without poles."""
    contrasts = of(measured)
    if not contrasts:
        return None
    heads = numbers("low - high", "this\nlist", "other\nprompts", "p")
    shown = Table([Column("attribute"), Column("dimension"), Column("class"), *heads], "contrasts", NOTE, grouped=True)
    side: tuple[str, str] | None = None
    for c in contrasts:
        if side is not None and side[0] != c.attribute:
            shown.section()
        first = side != (c.attribute, c.dimension)
        names = (spaced(c.attribute) if side is None or side[0] != c.attribute else "", c.dimension if first else "")
        shown.add(*names, c.label, number(c.row["value"], sign=True), interval(c.row), interval(c.other), p_value(c.p))
        side = (c.attribute, c.dimension)
    return shown


def sentences(measured: Measured) -> Iterator[str]:
    """Yield which contrasts are shown, the largest first; nothing for a task without poles."""
    contrasts = of(measured)
    if not contrasts:
        return
    differing = sorted((c for c in contrasts if c.p <= _LEVEL), key=lambda c: -abs(c.row["value"]))
    named = "; ".join(
        f"{c.label} {number(100 * c.row['value'], 1, sign=True)} points in {c.dimension}" for c in differing[:_MOST]
    )
    more = f" and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
    listed = f": {named}{more}" if named else ""
    yield (
        f"Low minus high pole of the prompts' dimensions, on this list: {len(differing)} of {len(contrasts)} contrasts "
        f"differ{listed}."
    )
