"""What a run shows by category of its prompts, or by wording: a table, and a sentence on the differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value, span
from fairbench.display.tables import Column, Table, numbers
from fairbench.runs.sections import By, SectionValue

NOTE: Final = (
    "Means over the prompts of each section, for this list, with 95 % intervals. minus the first: the difference from "
    "the first section{pairing}; p: of no difference, adjusted (Holm) over this table."
)
_LEVEL: Final = 0.05
_MOST: Final = 6


def table(values: Sequence[SectionValue], by: By) -> Table | None:
    """Return every section's values beside the first one's; None where there are no sections."""
    if not values:
        return None
    heads = numbers("value", "95 %", "minus\nthe first", "95 %", "p")
    # Sections of the same subjects have as many prompts.
    paired = len({v.prompts for v in values if v.quantity == values[0].quantity}) == 1
    note = NOTE.format(pairing=", subject by subject" if paired else "")
    shown = Table([Column("of"), Column(by, wraps=True), *heads], f"by {by}", note, grouped=True)
    last = ""
    for v in values:
        name = f"{spaced(v.attribute)}: {v.quantity}"
        if last and name != last:
            shown.section()
        first = name != last
        beside = ("", "", "") if first else (number(v.difference, sign=True), span(v.d_low, v.d_high), p_value(v.p))
        shown.add(name if first else "", v.section, number(v.value), span(v.low, v.high), *beside)
        last = name
    return shown


def sentences(values: Sequence[SectionValue], by: By) -> Iterator[str]:
    """Yield which differences from the first section are shown, the largest first; nothing without sections."""
    tested = [v for v in values if v.p == v.p]
    if not tested:
        return
    differing = sorted((v for v in tested if v.p <= _LEVEL), key=lambda v: -abs(v.difference))
    named = "; ".join(_words(v) for v in differing[:_MOST])
    more = f" and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
    listed = f": {named}{more}" if named else ""
    yield (
        f"By {by}, beside {values[0].section}, on this list: {len(differing)} of {len(tested)} differences are shown"
        f"{listed}."
    )


def _words(v: SectionValue) -> str:
    of = f"{v.quantity} of {spaced(v.attribute)}" if v.quantity == "concentration" else f"share of {v.quantity}"
    return f"{v.section} {of} {number(v.difference, 2, sign=True)}"
