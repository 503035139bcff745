"""The picture of a comparison: effects as a forest with their margins, or two labellers' tables."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fairbench.cards.cards import RESERVED
from fairbench.comparison.compare import Result, RunComparison
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.verdicts import CONCENTRATION, Row
from fairbench.display.figure import INK, drawing, heat, png
from fairbench.display.labels import spaced
from fairbench.display.note import label_note
from fairbench.display.numbers import number
from fairbench.display.plain import line
from fairbench.storage import atomic

LIST, OTHER, MARGIN = "#4477aa", "#88aacc", "#e8e8e8"
_ROW_HEIGHT: Final = 0.42
"""Height of a row of the forest, in inches."""
_TABLE_WIDTH, _CELL_WIDTH, _NAMES_WIDTH = 3.2, 0.62, 1.6
"""Of the pictures of labellers' tables, in inches: a table at least, a cell, the names beside the cells."""


def write(result: Result, path: Path) -> None:
    """Write the picture. Raises MissingExtra without matplotlib, StoreError."""
    with drawing("The picture of a comparison", "report") as pyplot:
        figure = _forest(pyplot, result) if isinstance(result, RunComparison) else _tables(pyplot, result)
        picture = png(pyplot, figure)
    atomic.write_bytes(path, picture)


def _forest(pyplot: Any, result: RunComparison) -> Any:
    """Return a panel per scale: concentration of the primary attributes, then each quality measure."""
    panels: dict[str, list[list[Row]]] = {}
    for row in result.rows:
        if (row.primary and row.estimand == CONCENTRATION) or row.attribute in RESERVED:
            scopes = panels.setdefault(row.estimand, [])
            if scopes and (scopes[-1][0].run, scopes[-1][0].attribute) == (row.run, row.attribute):
                scopes[-1].append(row)
            else:
                scopes.append([row])
    heights = [len(rows) * _ROW_HEIGHT + 0.75 for rows in panels.values()]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(8.2, sum(heights) + 0.9), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, groups in zip(axes[:, 0], panels.values(), strict=True):
        # Runs side by side; attributes in the order of the rows.
        attributes = [rows[0].attribute for rows in groups]
        _panel(axis, sorted(groups, key=lambda rows: attributes.index(rows[0].attribute)), result)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    legend = {"loc": "outside lower center", "ncols": 3, "frameon": False}
    figure.legend(once.values(), once.keys(), title=_note(result), title_fontsize=7, **legend)
    figure.suptitle(_title(result), fontsize=11)
    return figure


def _note(result: Result) -> str:
    return "\n".join(textwrap.wrap(label_note(*(side.read_by for side in result.sides)), 120))


def _title(result: RunComparison) -> str:
    if result.variants == 1:
        a, b = result.sides
        return line(f"{b.letter} ({b.name}) minus {a.letter} ({a.name})")
    names = "; ".join(f"{side.letter}: {side.name}" for side in result.sides)
    return "\n".join(textwrap.wrap(line(f"Runs minus {result.sides[0].letter}. {names}"), 90))


def _panel(axis: Any, groups: Sequence[Sequence[Row]], result: RunComparison) -> None:
    level = f"{100 * (1 - result.alpha):g} %"
    for y, rows in enumerate(groups):
        if np.isfinite(rows[0].margin):
            axis.fill_between(_margin(rows[0]), y - 0.42, y + 0.42, color=MARGIN, linewidth=0, label="margin")
        for row in rows:
            other, label = row.scope == "other prompts", f"{level}, {row.scope}"
            colour, shift, width = (OTHER, 0.14, 1.6) if other else (LIST, -0.12, 3.2)
            if np.isfinite(row.low):
                axis.hlines(y + shift, row.low, row.high, color=colour, linewidth=width, label=label)
            if not other:
                axis.plot(row.effect, y + shift, "o", color=INK, markersize=4.5)
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_yticks(range(len(groups)), [_label(rows[0], result) for rows in groups])
    axis.set_ylim(len(groups) - 0.4, -0.6)
    axis.set_title(_words(groups[0][0]), loc="left", fontsize=10)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _margin(row: Row) -> tuple[float, float]:
    """Return the differences that count as none: on both sides of 0, or, of quality, on the side that is worse."""
    worse = {"higher": (-row.margin, 0.0), "lower": (0.0, row.margin)}
    return worse[row.better] if row.claim == "preserved" and row.better else (-row.margin, row.margin)


def _words(row: Row) -> str:
    if row.primary:
        return "concentration (left: less concentrated)"
    return f"{row.estimand} ({row.better} is better)" if row.better else row.estimand


def _label(row: Row, result: RunComparison) -> str:
    attribute = spaced(row.attribute) if row.primary else ""
    return attribute if result.variants == 1 else f"{attribute}  {row.run}".strip()


def _tables(pyplot: Any, result: LabellerComparison) -> Any:
    """Return a table per attribute: rows A's label, columns B's, in percent of A's faces of that label."""
    attributes = result.attributes
    widths = [max(_TABLE_WIDTH, _CELL_WIDTH * len(a.labels) + _NAMES_WIDTH) for a in attributes] or [4]
    size = max(sum(widths), 4), max(widths)
    style = {"figsize": size, "layout": "constrained", "width_ratios": widths}
    figure, axes = pyplot.subplots(1, len(widths), squeeze=False, **style)
    side_a, side_b = (f"{side.letter}: {line(side.run.record.labeller.name)}" for side in result.sides)
    for axis, attribute in zip(axes[0], attributes, strict=False):
        heat(axis, attribute.table, attribute.labels, attribute.labels, "{:.0f}".format)
        title = f"{spaced(attribute.attribute)} (kappa {number(attribute.agreement.kappa, 2)})"
        axis.set(title=title, xlabel=side_b, ylabel=side_a)
    figure.suptitle(f"{result.matched} faces, two labellers: % of each row")
    figure.supxlabel(_note(result), fontsize=7, color=INK)
    return figure
