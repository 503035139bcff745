"""The smallest change that a design finds, against images a prompt: as a picture, and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairbench.errors import MissingExtra
from fairbench.stats.power import Plan, detectable
from fairbench.types import FloatArray

IMAGES: Final = (10, 20, 40, 80, 160, 320, 640)
"""Images a prompt and run at which a curve is computed."""
_BLUES = ("#9ecae1", "#4292c6", "#08519c", "#041f42")  # the more prompts, the darker
_NOTE = "Labels are perceived presentation as a classifier sees it, never identity."


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One attribute's curves. smallest: the smallest change of RD that is found, (prompts, IMAGES); NaN: none is."""

    attribute: str
    classes: int
    prompts: tuple[int, ...]
    smallest: FloatArray

    def at(self, prompts: int) -> list[float | None]:
        """Return the curve of one of the numbers of prompts; None: no change is found."""
        row = self.smallest[self.prompts.index(prompts)]
        return [None if math.isnan(value) else float(value) for value in row]


def of(attribute: str, plan: Plan, prompts: int, power: float) -> Curve:
    """Return the curves for a quarter, a half, all and twice as many prompts."""
    fewest = 2 if plan.scope == "prompts like these" else 1
    numbers = tuple(sorted({prompts, 2 * prompts, *(max(fewest, prompts // part) for part in (2, 4))}))
    found = detectable(plan, [[n] for n in numbers], [IMAGES], power)
    return Curve(attribute, plan.baseline.shape[-1], numbers, found)


def as_csv(curves: Sequence[Curve]) -> str:
    """Return a row for each attribute, number of prompts and number of images; an empty cell: no change is found."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["attribute", "classes", "prompts", "images_per_prompt", "smallest_change_of_rd"])
    for curve in curves:
        for prompts in curve.prompts:
            for images, value in zip(IMAGES, curve.at(prompts), strict=True):
                shown = "" if value is None else f"{value:.5f}"
                writer.writerow([curve.attribute, curve.classes, prompts, images, shown])
    return out.getvalue()


def need_matplotlib() -> Any:
    """Return matplotlib's Figure, which draws without a screen. Raises MissingExtra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as err:
        raise MissingExtra("The picture of a plan", "report") from err
    return Figure


def png(curves: Sequence[Curve], prompts: int, detect: float, title: str) -> bytes:
    """Draw a panel for each attribute, the curve of `prompts` in bold and the change asked for dashed."""
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = need_matplotlib()(figsize=(0.6 + 3.9 * columns, 0.9 + 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, curve in zip(axes, curves, strict=False):
        _panel(axis, curve, prompts, detect)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(f"images a prompt and run\n{_NOTE}", fontsize=9)
    figure.supylabel("smallest change of RD that is found", fontsize=9)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130)
    return out.getvalue()


def _panel(axis: Any, curve: Curve, prompts: int, detect: float) -> None:
    colours = _BLUES[-len(curve.prompts) :]
    for index, number in enumerate(curve.prompts):
        own = number == prompts
        axis.plot(
            IMAGES, curve.smallest[index], label=f"{number} prompts", marker="o", markersize=4 if own else 2.5,
            linewidth=2.4 if own else 1.1, color=colours[index], zorder=3 if own else 2,
        )  # fmt: skip
    axis.axhline(detect, color="#b2182b", linestyle="--", linewidth=1.1, label=f"asked: {detect:g}")
    axis.set_xscale("log", base=2)
    axis.set_xticks(IMAGES, [str(n) for n in IMAGES])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_title(f"{curve.attribute.replace('_x_', ' x ')} (K = {curve.classes})", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7.5, framealpha=1)
