"""Contrasts between the poles of a task's categories, with what the data show of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy.special import ndtr

from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST
from fairbench.runs.terminal_tables import Measured
from fairbench.stats.multiplicity import holm


@dataclass(frozen=True, slots=True)
class Contrast:
    """One row of the table. row, other: of the metrics table; p: adjusted."""

    attribute: str
    dimension: str
    label: str
    row: dict[str, Any]
    other: dict[str, Any] | None
    p: float


def of_run(measured: Measured) -> list[Contrast]:
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
