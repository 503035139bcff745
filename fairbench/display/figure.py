"""What all pictures share: drawing without a screen, text that is no formula, tables of percentages, the PNG."""

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
_DARK: Final = 55
"""Per cent from which on a cell is dark, and its number white."""


@contextmanager
def drawing(what: str, extra: str) -> Iterator[Any]:
    """Give matplotlib's pyplot, for drawing into files: in it, `$` is a dollar. Raises MissingExtra without it."""
    try:
        import matplotlib
    except ImportError as err:
        raise MissingExtra(what, extra) from err
    matplotlib.use("agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"text.parse_math": False}):
        yield pyplot


def png(pyplot: Any, figure: Any, dpi: int = 120) -> bytes:
    """Return the picture, and close it."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    pyplot.close(figure)
    return out.getvalue()


def heat(
    axis: Any, counts: ArrayLike, rows: Sequence[str], columns: Sequence[str], form: Callable[[float], str]
) -> None:
    """Draw counts (R, C) in percent of their rows. A row without any is left empty, and its name says so."""
    table = np.asarray(counts, dtype=np.float64)
    totals = table.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(table, totals, out=np.full_like(table, np.nan), where=totals > 0)
    axis.imshow(np.ma.masked_invalid(percent), cmap="Blues", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(percent):
        if not np.isnan(value):
            colour = "white" if value > _DARK else INK
            axis.text(j, i, form(float(value)), ha="center", va="center", color=colour, fontsize=8)
    names = [line(name) if total else f"{line(name)}\n(no faces)" for name, total in zip(rows, totals, strict=True)]
    axis.set_xticks(range(len(columns)), [line(name) for name in columns], rotation=35, ha="right")
    axis.set_yticks(range(len(rows)), names)
