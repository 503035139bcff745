"""Contrasts between the poles of a task's categories, as a table and as a sentence on those that are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value
from fairbench.display.tables import Column, Table, numbers
from fairbench.runs import contrasts
from fairbench.runs.terminal_tables import Measured, interval

NOTE: Final = (
    "P(class | low pole) - P(class | high pole), means over prompts; p: of no difference for this list, adjusted "
    "(Holm) over this table. Poles were assigned by the task's authors."
)
_LEVEL: Final = 0.05
_MOST: Final = 6


def table(measured: Measured) -> Table | None:
    """Return every contrast; None for a task without poles."""
    found = contrasts.of_run(measured)
    if not found:
        return None
    heads = numbers("low - high", "this\nlist", "other\nprompts", "p")
    shown = Table([Column("attribute"), Column("dimension"), Column("class"), *heads], "contrasts", NOTE, grouped=True)
    side: tuple[str, str] | None = None
    for c in found:
        if side is not None and side[0] != c.attribute:
            shown.section()
        first = side != (c.attribute, c.dimension)
        names = (spaced(c.attribute) if side is None or side[0] != c.attribute else "", c.dimension if first else "")
        shown.add(*names, c.label, number(c.row["value"], sign=True), interval(c.row), interval(c.other), p_value(c.p))
        side = (c.attribute, c.dimension)
    return shown


def sentences(measured: Measured) -> Iterator[str]:
    """Yield which contrasts are shown, the largest first; nothing for a task without poles."""
    found = contrasts.of_run(measured)
    if not found:
        return
    differing = sorted((c for c in found if c.p <= _LEVEL), key=lambda c: -abs(c.row["value"]))
    named = "; ".join(
        f"{c.label} {number(100 * c.row['value'], 1, sign=True)} points in {c.dimension}" for c in differing[:_MOST]
    )
    more = f" and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
    listed = f": {named}{more}" if named else ""
    yield (
        f"Low minus high pole of the prompts' dimensions, on this list: {len(differing)} of {len(found)} contrasts "
        f"differ{listed}."
    )
