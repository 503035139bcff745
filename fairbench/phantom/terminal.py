"""What a check of the phantom prints: every figure beside the bar that it has to meet."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from fairbench.display.numbers import number
from fairbench.display.plain import echo
from fairbench.display.tables import Column, Table, numbers
from fairbench.phantom.figures import Bar


def show(bars: Sequence[Bar], console: Console) -> None:
    """Print the table, and how many bars are met."""
    table(bars).show(console)
    not_met = sum(not bar.holds for bar in bars)
    echo(f"{len(bars)} bars, {not_met} not met" if not_met else f"All {len(bars)} bars are met.")


def table(bars: Sequence[Bar]) -> Table:
    """Return a row per bar."""
    rows = Table([Column("figure", wraps=True), *numbers("value", "s.e.", "must be", "met")])
    for bar in bars:
        error = number(bar.error, 4) if bar.error else ""
        slack = f" ({bar.slack:g} s.e.)" if bar.slack and bar.error else ""
        limit = f"{bar.must} {bar.limit:g}{slack}"
        rows.add(bar.name, number(bar.value, 4), error, limit, "yes" if bar.holds else "NO")
    return rows
