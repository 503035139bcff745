"""The known truth beside what was measured: a table in the full form, a sentence in the short one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number
from fairbench.display.tables import Column, Table, numbers
from fairbench.runs.known_truth import Comparison
from fairbench.runs.terminal_tables import Measured, Row, interval

TRUTH_NOTE: Final = (
    "rd at these n: of as many faces drawn from that truth, on average. concentration: whether the interval for this "
    "list of prompts holds the truth."
)


def table(measured: Measured) -> Table | None:
    """Return what is known beside what was measured; None where no truth is known that applies."""
    truths = [truth for truth in measured.record.truth if truth.note is None]
    if not truths:
        return None
    heads = ("measured", *(name for t in truths for name in (t.name, f"{t.name}\nat these n")))
    result = Table([Column("attribute"), Column(""), *numbers(*heads)], "known truth", TRUTH_NOTE, grouped=True)
    for attribute in dict.fromkeys(v.attribute for t in truths for v in t.values):
        values = [next((v for v in t.values if v.attribute == attribute), None) for t in truths]
        _add_rd(result, spaced(attribute), values)
        for estimate, label in {"raw": "concentration", "corrected": "  corrected"}.items():
            row = measured.find("concentration", estimate, attribute)
            if row is not None and row["ci_low"] is not None:
                result.add("", label, interval(row), *(cell for v in values for cell in _covered(v, row)))
    return result


def in_short(measured: Measured) -> Iterator[str]:
    """Yield, for each truth that applies, the true concentrations, and which intervals do not hold them."""
    for truth in measured.record.truth:
        values = [v for v in truth.values if v.concentration is not None] if truth.note is None else []
        if not values:
            continue
        held = {name: _held(measured, values, e) for e, name in (("raw", "as read"), ("corrected", "adjusted"))}
        known = {name: words for name, words in held.items() if words}
        alike = len(set(known.values())) == 1
        said = next(iter(known.values())) if alike else "; ".join(f"{n} {words}" for n, words in known.items())
        named = ", ".join(f"{spaced(v.attribute)} {number(v.concentration)}" for v in values)
        yield f"Truth, {truth.name}: {named}{f': {said}' if said else ''}."


def _held(measured: Measured, values: Sequence[Comparison], estimate: str) -> str:
    """Return whether the intervals of one estimate hold true concentrations; empty where there are none."""
    rows = {v.attribute: measured.find("concentration", estimate, v.attribute) for v in values}
    where = {
        v.attribute: _covered(v, row)[1] for v in values if (row := rows[v.attribute]) and row["ci_low"] is not None
    }
    outside = [spaced(attribute) for attribute, place in where.items() if place == "outside"]
    if not outside:
        return "in all intervals" if where else ""
    return "in no interval" if len(outside) == len(where) else f"not in the interval of {', '.join(outside)}"


def _add_rd(table: Table, name: str, values: list[Comparison | None]) -> None:
    cells = []
    for v in values:
        cells += ["", ""] if v is None else [number(v.truth), number(v.expected)]
    rd = next((v.measured for v in values if v is not None), None)
    table.add(name, "rd", number(rd), *cells)


def _covered(value: Comparison | None, row: Row) -> tuple[str, str]:
    """Return a true concentration, and whether the measured interval holds it."""
    if value is None or value.concentration is None:
        return "", ""
    inside = row["ci_low"] <= value.concentration <= row["ci_high"]
    return number(value.concentration), "inside" if inside else "outside"
