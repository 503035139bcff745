"""What a run says of a task's wordings: the variance that they have, and whether they move the order of subjects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number
from fairbench.display.tables import Column, Table, numbers
from fairbench.measure.counts import cross_name, primary
from fairbench.measure.wordings import RANKS, SHARE, TOTAL, UNMOVED
from fairbench.runs.terminal_tables import Measured, interval
from fairbench.stats.crossed import PARTS

NOTE: Final = (
    "variance: of the class shares over this list's prompts, without what drawing images adds. Its parts, which add up "
    "to 1: subject, whatever the wording; wording, whatever the subject; subject x wording, by which a wording moves "
    "single subjects. ranks: rank correlation of the subjects' concentration between wordings; unmoved: what it is if "
    "the wording changes nothing, with 95 % of draws."
)


def table(measured: Measured) -> Table | None:
    """Return every attribute's parts and ranks; None for a task of one wording."""
    columns = [Column("attribute"), Column("of"), *numbers("value", "95 %")]
    shown = Table(columns, "wordings", NOTE, grouped=True)
    for attribute in measured.attributes:
        total = measured.find(TOTAL, "raw", attribute)
        if total is None:
            continue
        parts = [(f"  {name}", measured.find(f"{SHARE}[{name}]", "raw", attribute)) for name in PARTS]
        ranks = [("ranks", _ranks(measured, attribute)), ("  unmoved", _ranks(measured, attribute, UNMOVED))]
        side = spaced(attribute)
        for name, row in [("variance", total), *parts, *ranks]:
            shown.add(side, name, number(None if row is None else row["value"]), interval(row))
            side = ""
        shown.section()
    return shown if shown.rows else None


def sentences(measured: Measured) -> Iterator[str]:
    """Yield how much is the wording's, and whether it moves ranks, of the primary attributes."""
    attributes = [cross_name(names) for names in primary(measured.space)]
    parts = [f"{spaced(name)} {' and '.join(_shares(measured, name))}" for name in attributes if _known(measured, name)]
    if parts:
        yield (
            f"Of the variance of shares over prompts, the wording has by itself, and through single subjects, in "
            f"percent: {'; '.join(parts)}."
        )
    moved, unmoved = [], []
    for name in attributes:
        ranks, by_chance = _ranks(measured, name), _ranks(measured, name, UNMOVED)
        if ranks is None or by_chance is None or ranks["value"] is None:
            continue
        if ranks["value"] < by_chance["ci_low"]:
            low, high = (number(by_chance[side], 2) for side in ("ci_low", "ci_high"))
            moved.append(f"{spaced(name)} (rank correlation {number(ranks['value'], 2)}; by chance {low} to {high})")
        else:
            unmoved.append(spaced(name))
    if moved or unmoved:
        shown = f"moves beyond chance for {', '.join(moved)}" if moved else ""
        rest = f"is not shown to move for {', '.join(unmoved)}" if unmoved else ""
        said = "; it ".join(filter(None, (shown, rest)))
        yield f"From wording to wording, the order of subjects by concentration {said}."


def _known(measured: Measured, attribute: str) -> bool:
    row = measured.find(f"{SHARE}[wording]", "raw", attribute)
    return row is not None and row["value"] is not None


def _shares(measured: Measured, attribute: str) -> Iterator[str]:
    for part in PARTS[1:]:
        row = measured.find(f"{SHARE}[{part}]", "raw", attribute)
        if row is not None:
            value, low, high = (f"{100 * row[name]:.1f}" for name in ("value", "ci_low", "ci_high"))
            yield f"{value} [{low}, {high}]"


def _ranks(measured: Measured, attribute: str, estimate: str = "raw") -> dict[str, Any] | None:
    return measured.find(RANKS, estimate, attribute)
