"""HoloFair's composite indices of a run, as a table and as a sentence, each beside what a fair model would read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number
from fairbench.display.tables import Column, Table, numbers
from fairbench.measure.composite import ID, MEAN, MGBI, NAMES, WORST
from fairbench.measure.counts import cross_name, primary
from fairbench.measure.quantities import OTHER_PROMPTS
from fairbench.runs.terminal_tables import Measured, interval

NOTE: Final = (
    "Of H(p) / log K over the declared classes, 1 where they are equal; of a cross, the geometric mean over its "
    "attributes. ID: all faces of the prompts of category neutral together; CA_.1, CA_mean: the .1 quantile and the "
    "mean of the others' values; MGBI: sqrt(ID x CA_.1). fair: what a fair model would read at these face counts; "
    "intervals are of the value that is expected at them. Not to be compared with runs of other prompts, labellers or "
    "numbers of images."
)
TITLES: Final = {ID: "ID", WORST: "CA_.1", MEAN: "CA_mean", MGBI: "MGBI"}


def table(measured: Measured) -> Table | None:
    """Return every index that has a value; None where none has."""
    heads = numbers("value", "fair", "this\nlist", "other\nprompts")
    shown = Table([Column("attribute"), Column("index"), *heads], "composite indices (HoloFair)", NOTE, grouped=True)
    for attribute in measured.attributes:
        side = spaced(attribute)
        for name in NAMES:
            row = measured.find(name, "raw", attribute)
            if row is None or row["value"] is None:
                continue
            wider = interval(measured.find(name, "raw", attribute, OTHER_PROMPTS))
            shown.add(side, TITLES[name], number(row["value"]), number(row["floor"]), interval(row), wider)
            side = ""
        shown.section()
    return shown if shown.rows else None


def sentences(measured: Measured) -> Iterator[str]:
    """Yield the indices of the primary cross, or attribute, in one sentence; nothing where there is no MGBI."""
    attribute = cross_name(primary(measured.space)[-1])
    rows = {name: measured.find(name, "raw", attribute) for name in NAMES}
    known = {name: row for name, row in rows.items() if row is not None and row["value"] is not None}
    if MGBI in known:
        values = ", ".join(
            f"{TITLES[name]} {number(row['value'])} ({number(row['floor'])})" for name, row in known.items()
        )
        yield f"HoloFair's indices of {spaced(attribute)} (if fair): {values}."
