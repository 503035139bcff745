"""The picture of a comparison: effects as a forest with their margins, or two labellers' tables."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fairbench.cards.cards import RESERVED
from fairbench.comparison.compare import Comparison
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.verdicts import Row
from fairbench.display.figure import INK, drawing, heat, png
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number
from fairbench.display.plain import line
from fairbench.storage import atomic

RANDOM, FIXED, MARGIN = "#4477aa", "#88aacc", "#e8e8e8"
_ROW: Final = 0.42
"""Inches of a row of the forest."""


def write(found: Comparison | LabellerComparison, path: Path) -> None:
    """Write the picture. Raises MissingExtra without matplotlib, StoreError."""
    with drawing("The picture of a comparison", "report") as pyplot:
        figure = _forest(pyplot, found) if isinstance(found, Comparison) else _tables(pyplot, found)
        picture = png(pyplot, figure)
    atomic.write_bytes(path, picture)


def _forest(pyplot: Any, found: Comparison) -> Any:
    """A panel a scale: RD of the primary attributes, then each quality measure, as scores share no unit."""
    panels: dict[str, list[list[Row]]] = {}
    for row in found.rows:
        if row.primary or row.attribute in RESERVED:
            scopes = panels.setdefault("rd@n0" if row.primary else row.estimand, [])
            if scopes and (scopes[-1][0].run, scopes[-1][0].attribute) == (row.run, row.attribute):
                scopes[-1].append(row)
            else:
                scopes.append([row])
    heights = [len(rows) * _ROW + 0.75 for rows in panels.values()]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(8.2, sum(heights) + 0.9), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, groups in zip(axes[:, 0], panels.values(), strict=True):
        # Runs side by side; attributes in the order in which they were found.
        attributes = [rows[0].attribute for rows in groups]
        _panel(axis, sorted(groups, key=lambda rows: attributes.index(rows[0].attribute)), found)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=3, frameon=False, title=_note(),
                  title_fontsize=7)  # fmt: skip
    figure.suptitle(_title(found), fontsize=11)
    return figure


def _note() -> str:
    return "\n".join(textwrap.wrap(LABEL_NOTE, 120))


def _title(found: Comparison) -> str:
    if found.variants == 1:
        a, b = found.sides
        return line(f"{b.letter} ({b.name}) minus {a.letter} ({a.name})")
    names = "; ".join(f"{side.letter}: {side.name}" for side in found.sides)
    return "\n".join(textwrap.wrap(line(f"Runs minus {found.sides[0].letter}. {names}"), 90))


def _panel(axis: Any, groups: Sequence[Sequence[Row]], found: Comparison) -> None:
    level = f"{100 * (1 - found.alpha):g} %"
    for place, rows in enumerate(groups):
        if np.isfinite(rows[0].margin):
            axis.fill_between(_margin(rows[0]), place - 0.42, place + 0.42, color=MARGIN, linewidth=0,
                              label="margin")  # fmt: skip
        for row in rows:
            random = row.scope == "prompts like these"
            colour, shift, width = (RANDOM, -0.12, 1.6) if random else (FIXED, 0.14, 3.2)
            if np.isfinite(row.low):
                axis.hlines(place + shift, row.low, row.high, color=colour, linewidth=width,
                            label=f"{level}, {row.scope}")  # fmt: skip
            if random:
                axis.plot(row.effect, place + shift, "o", color=INK, markersize=4.5)
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_yticks(range(len(groups)), [_label(rows[0], found) for rows in groups])
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
        return "RD at the smaller face count of the two runs (left: less biased)"
    return f"{row.estimand} ({row.better} is better)" if row.better else row.estimand


def _label(row: Row, found: Comparison) -> str:
    what = row.attribute.replace("_x_", " x ") if row.primary else ""
    if found.variants == 1:
        return what
    return f"{what}  {row.run}".strip()


def _tables(pyplot: Any, found: LabellerComparison) -> Any:
    """A table an attribute: rows A's label, columns B's, in percent of A's faces of that label."""
    shown = found.attributes
    sizes = [max(3.2, 0.62 * len(a.labels) + 1.6) for a in shown]
    figure, axes = pyplot.subplots(
        1, max(len(shown), 1), figsize=(max(sum(sizes), 4), max([3.2, *sizes])), squeeze=False, layout="constrained",
        width_ratios=sizes or None,
    )  # fmt: skip
    a, b = found.sides
    for axis, one in zip(axes[0], shown, strict=False):
        heat(axis, one.table, one.labels, one.labels, "{:.0f}".format)
        axis.set(title=f"{one.attribute.replace('_x_', ' x ')} (kappa {number(one.agreement.kappa, 2)})",
                 xlabel=f"{b.letter}: {_labeller(b)}", ylabel=f"{a.letter}: {_labeller(a)}")  # fmt: skip
    figure.suptitle(f"{found.matched} faces, two labellers: % of each row")
    figure.supxlabel(_note(), fontsize=7, color=INK)
    return figure


def _labeller(side: Any) -> str:
    return line(side.run.record["labeller"]["name"])
