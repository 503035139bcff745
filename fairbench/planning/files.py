"""A power analysis' files: plan.json, plan.csv and plan.png."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fairbench.display import figure
from fairbench.planning import plots, terminal
from fairbench.planning.analysis import IMAGES, Analysis, Curve
from fairbench.storage import atomic, folders, kinds


def check(folder: Path) -> None:
    """Raise FairbenchError now for what would fail after the work."""
    folders.check(folder, kinds.PLAN)
    figure.require(*plots.FIGURE)


def write(analysis: Analysis, folder: Path) -> None:
    """Write the files into the folder, all or none. Raises FairbenchError."""
    picture = plots.png(analysis, terminal.title(analysis))
    with folders.replacing(folder, kinds.PLAN) as new:
        atomic.write_bytes(new / "plan.png", picture)
        atomic.write_text(new / "plan.csv", _csv(analysis.curves))
        atomic.write_text(new / "plan.json", json.dumps(terminal.summary(analysis), indent=2, allow_nan=False) + "\n")


def _csv(curves: Sequence[Curve]) -> str:
    """Return a row per attribute, number of prompts and number of images; an empty cell where no change is found."""
    rows: list[list[object]] = [["attribute", "classes", "prompts", "images_per_prompt", "smallest_change"]]
    for curve in curves:
        for prompts in curve.prompts:
            for images, value in zip(IMAGES, curve.at(prompts), strict=True):
                shown = "" if value is None else f"{value:.5f}"
                rows.append([curve.attribute, curve.classes, prompts, images, shown])
    return atomic.csv_text(rows)
