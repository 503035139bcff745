"""What all figures share: drawing without a screen, text that is no formula, tables of percentages, the PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.display.plain import line
from fairbench.errors import MissingExtra

INK: Final = "#333333"
_DARK_PERCENT: Final = 55
"""Percentage above which a cell is so dark that its number is white."""


@contextmanager
def drawing(what: str, extra: str) -> Iterator[Any]:
    """Yield matplotlib's pyplot, for drawing into files, where `$` is a dollar. Raises MissingExtra without it.

    what, extra: what is drawn, and the extra that brings matplotlib, for the error.
    """
    try:
        import matplotlib
    except ImportError as err:
        raise MissingExtra(what, extra) from err
    matplotlib.use("agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"text.parse_math": False}):
        yield pyplot


def require(what: str, extra: str) -> None:
    """Raise MissingExtra now, before work whose result could not be drawn."""
    with drawing(what, extra):
        pass


def png(pyplot: Any, figure: Any, dpi: int = 120) -> bytes:
    """Return the figure as a PNG file, and close it."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    pyplot.close(figure)
    return out.getvalue()


def heat(
    axis: Any, counts: ArrayLike, rows: Sequence[str], columns: Sequence[str], form: Callable[[float], str]
) -> None:
    """Draw counts (R, C) in percent of their rows; `form` writes a percentage. A row of zeros stays empty."""
    table = np.asarray(counts, dtype=np.float64)
    totals = table.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(table, totals, out=np.full_like(table, np.nan), where=totals > 0)
    axis.imshow(np.ma.masked_invalid(percent), cmap="Blues", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(percent):
        if not np.isnan(value):
            colour = "white" if value > _DARK_PERCENT else INK
            axis.text(j, i, form(float(value)), ha="center", va="center", color=colour, fontsize=8)
    names = [line(name) if total else f"{line(name)}\n(no faces)" for name, total in zip(rows, totals, strict=True)]
    axis.set_xticks(range(len(columns)), [line(name) for name in columns], rotation=35, ha="right")
    axis.set_yticks(range(len(rows)), names)
