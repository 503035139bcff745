"""The picture of a power analysis: the smallest change that is found, against images per prompt."""

from __future__ import annotations

import math
from typing import Any

from fairbench.display import figure
from fairbench.display.labels import spaced
from fairbench.planning.analysis import IMAGES, Analysis, Curve

_BLUES = ("#9ecae1", "#4292c6", "#08519c", "#041f42")  # the more prompts, the darker
FIGURE = ("The picture of a plan", "report")
"""What is drawn, and the extra that brings matplotlib."""
_NOTE = "Labels are perceived presentation as seen by the labeller, never identity."


def png(analysis: Analysis, title: str) -> bytes:
    """Return the picture: a panel per attribute, the design's prompts in bold and the change to find dashed."""
    curves = analysis.curves
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    with figure.drawing(*FIGURE) as pyplot:
        picture = pyplot.figure(figsize=(0.6 + 3.9 * columns, 0.9 + 3.1 * rows), layout="constrained")
        axes = picture.subplots(rows, columns, squeeze=False).ravel()
        for axis, curve in zip(axes, curves, strict=False):
            _panel(axis, curve, analysis.design.prompts, analysis.design.detect)
        for axis in axes[len(curves) :]:
            axis.set_axis_off()
        picture.suptitle(title, fontsize=11)
        picture.supxlabel(f"images per prompt and run\n{_NOTE}", fontsize=9)
        picture.supylabel("smallest change of concentration that is found", fontsize=9)
        return figure.png(pyplot, picture, dpi=130)


def _panel(axis: Any, curve: Curve, prompts: int, detect: float) -> None:
    colours = _BLUES[-len(curve.prompts) :]
    for number, colour, smallest in zip(curve.prompts, colours, curve.smallest, strict=True):
        bold = number == prompts
        style = {"markersize": 4, "linewidth": 2.4, "zorder": 3} if bold else {"markersize": 2.5, "linewidth": 1.1}
        axis.plot(IMAGES, smallest, label=f"{number} prompts", marker="o", color=colour, **style)
    axis.axhline(detect, color="#b2182b", linestyle="--", linewidth=1.1, label=f"to find: {detect:g}")
    axis.set_xscale("log", base=2)
    axis.set_xticks(IMAGES, [str(n) for n in IMAGES])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_title(f"{spaced(curve.attribute)} (K = {curve.classes})", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7.5, framealpha=1)
