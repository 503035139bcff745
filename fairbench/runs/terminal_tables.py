"""The tables of a run, from its folder alone: what was measured, which way it leans, and beside what is known."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from fairbench.display.labels import expanded, spaced
from fairbench.display.numbers import number, span
from fairbench.display.tables import Cell, Column, Table, numbers
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure import composite, following
from fairbench.measure.counts import attributes, cross_name
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST
from fairbench.measure.series import QUALITY
from fairbench.runs import evidence, people
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.folder import RunFolder
from fairbench.runs.people import People
from fairbench.runs.record import RunRecord
from fairbench.stats.intervals import SCOPES
from fairbench.types import FloatArray

log = logging.getLogger(__name__)
Row = dict[str, Any]
"""A row of the metrics table."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the main table has for every attribute; "{n0}" in its label is the number of faces."""

    metric: str
    estimate: str
    label: str


LINES: Final = (
    Line("concentration", "raw", "concentration"),
    Line("concentration", "corrected", "  corrected"),
    Line("concentration", "corrected-lowest", "  at least"),
    Line("concentration", "corrected-highest", "  at most"),
    Line("concentration", "pooled", "  pooled"),
    Line("effective-groups", "raw", "effective groups"),
    Line("effective-groups", "pooled", "  pooled"),
    Line("rd", "raw", "rd"),
    Line("rd", "rarefied", "rd@{n0}"),
    Line("rd", "corrected", "rd corrected"),
)
"""All other estimates and metrics stand in tables of their own, which only the full form has."""
ESTIMATES_NOTE: Final = (
    "Means over prompts, with 95 % intervals for this list of prompts and for other prompts. concentration: of the "
    "classes, 0 where they are equal and 1 where one stands alone; as it has no chance floor, estimates near balance "
    "can fall below 0; pooled: of all faces together; at least, at most: the range that the labeller's errors leave. "
    "effective groups: equally frequent groups that are as concentrated. rd: mean absolute difference of class shares "
    "at the faces that there are; rd@n: the same, expected at n images per prompt. fair: what a fair model scores here "
    "through this labeller, on average (and at most, 95 % of the time); most: what a one-sided model can score."
)
OTHERS_NOTE: Final = (
    "Intervals are of the values that are expected at these face counts: most of these metrics have a chance floor, as "
    "rd has. `fairbench show metric NAME` says what each is."
)
_OF_OWN_TABLES: Final = ("share[", "gap[", "contrast[", "shift[", "amplification[", "variance", "wording-ranks")
"""Beginnings of metrics that stand in tables of their own."""
_MAX_GAPS = 7
"""Attributes with more classes are not in the table of directions."""


class Measured:
    """What a run measured, as its folder says it."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.record: RunRecord = run.record
        self.space = LabelSpace(run.record.labeller)
        self.attributes = {cross_name(names): names for names in attributes(self.space)}

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the metrics table that are not of one prompt, in its order."""
        return task_rows(self.run)

    @cached_property
    def people(self) -> People | None:
        """What labels by people say of this list of prompts; None where there are none."""
        return self.run.people

    @cached_property
    def finished(self) -> FinishedRun:
        """The run as its evidence has it, read once. Raises FairbenchError where that cannot be read."""
        return evidence.read(self.run.folder)

    def if_whole(self, what: str) -> FinishedRun | None:
        """Return `finished`; None, and a warning that `what` is left out, where it cannot be read."""
        try:
            return self.finished
        except FairbenchError as err:
            log.warning("%s is left out: %s", what, err)
            return None

    def find(self, metric: str, estimate: str, attribute: str, scope: str = THIS_LIST) -> Row | None:
        """Return one row, None where the run has none."""
        return self._row_of.get((metric, estimate, attribute, scope))

    @cached_property
    def _row_of(self) -> dict[tuple[str, ...], Row]:
        return {(r["metric"], r["estimate"], r["attribute"], r["scope"]): r for r in self.rows}

    def shares(self, attribute: str) -> FloatArray:
        """Return each prompt's class shares (P, K) of one attribute, NaN where it has no faces."""
        table = self.run.metrics_table
        of_attribute = pc.and_(pc.equal(table["scope"], "prompt"), pc.equal(table["attribute"], attribute))
        table = table.filter(pc.and_(of_attribute, pc.equal(table["estimate"], "raw")))
        names = (f"share[{label}]" for label in self.space.declared.labels[attribute])
        columns = [table.filter(pc.equal(table["metric"], name))["value"].to_pylist() for name in names]
        return np.array(columns, dtype=np.float64).T  # None is NaN


def task_rows(run: RunFolder) -> list[Row]:
    """Return the rows of the metrics table that are not of one prompt."""
    table = run.metrics_table
    rows: list[Row] = table.filter(pc.not_equal(table["scope"], "prompt")).to_pylist()
    return rows


def estimates(measured: Measured) -> Table:
    """Return what is estimated of every attribute, with both intervals, floor and ceiling."""
    heads = numbers("value", "this\nlist", "other\nprompts", "fair", "most")
    table = Table([Column("attribute"), Column("estimate"), *heads], "estimates", ESTIMATES_NOTE, grouped=True)
    for attribute, names in measured.attributes.items():
        classes = math.prod(measured.space.declared.size(name) for name in names)
        name = spaced(attribute)
        for line in LINES:
            row = measured.find(line.metric, line.estimate, attribute)
            if row is None or (line.estimate.startswith("corrected") and row["value"] is None):
                continue
            side = Cell(f"{name}\n{classes} classes\n{row['n_faces']} faces" if name else "")
            label = line.label.format(n0=row["n0"])
            floor = "" if row["floor"] is None else f"{number(row['floor'])} ({number(row['floor_p95'])})"
            ceiling = "" if row["ceiling"] is None else number(row["ceiling"])
            wider = measured.find(line.metric, line.estimate, attribute, OTHER_PROMPTS)
            table.add(side, label, number(row["value"]), interval(row), interval(wider), floor, ceiling)
            name = ""
        table.section()
    return table


def by_people(measured: Measured) -> Table | None:
    """Return what labels by people say, with the estimates beside it; None where there are none."""
    asked = measured.people
    if asked is None:
        return None
    columns = [Column("attribute"), Column("estimate", wraps=True), *numbers("value", "this list")]
    table = Table(columns, "concentration by labels of people", grouped=True)
    for attribute in measured.attributes:
        side = spaced(attribute)
        for estimate, meaning in people.ESTIMATES.items():
            row = asked.find("concentration", estimate, attribute)
            if row is not None:
                table.add(side, meaning, number(row.value), span(row.ci_low, row.ci_high))
                side = ""
        table.section()
    return table


def direction(measured: Measured) -> Table:
    """Return which way each attribute leans: the signed gap of every class, which a mean of RD hides."""
    labels_of = measured.space.declared.labels
    columns = [Column("attribute"), Column("gap"), *numbers("value", *SCOPES)]
    note = expanded(label for labels in labels_of.values() for label in labels)
    table = Table(columns, "direction", note, grouped=True)
    for attribute, labels in labels_of.items():
        if len(labels) > _MAX_GAPS:
            continue
        two = len(labels) == 2  # then one gap is minus the other
        for i, label in enumerate(labels[:1] if two else labels):
            row = measured.find(f"gap[{label}]", "raw", attribute)
            if row is None:
                continue
            what = f"{label} - {labels[1]}" if two else f"{label} - the others"
            wider = measured.find(f"gap[{label}]", "raw", attribute, OTHER_PROMPTS)
            table.add("" if i else attribute, what, number(row["value"]), interval(row), interval(wider))
    return table


def others(measured: Measured) -> Table:
    """Return every estimate and metric of attributes and faces that no other table shows."""
    columns = [Column("attribute"), Column("metric"), *numbers("value", "this\nlist", "other\nprompts")]
    table = Table(columns, "other metrics and estimates", OTHERS_NOTE, grouped=True)
    in_lines = {(line.metric, line.estimate) for line in LINES}
    shown = [
        row
        for row in measured.rows
        if row["scope"] == THIS_LIST
        and row["attribute"] != QUALITY
        and (row["metric"], row["estimate"]) not in in_lines
        and not row["metric"].startswith((*_OF_OWN_TABLES, f"{following.NO_FACE}["))
        and row["metric"].partition("[")[0] not in (*composite.NAMES, *following.OWN_TABLES)
    ]
    for attribute in dict.fromkeys(row["attribute"] for row in shown):
        side = spaced(attribute)
        for row in (row for row in shown if row["attribute"] == attribute):
            metric, estimate = row["metric"], row["estimate"]
            label = metric if estimate == "raw" else f"{metric}, {estimate}"
            wider = measured.find(metric, estimate, attribute, OTHER_PROMPTS)
            table.add(side, label, number(row["value"]), interval(row), interval(wider))
            side = ""
        table.section()
    return table


def of_classes(measured: Measured, name: str, title: str) -> Table:
    """Return the shares or the gaps of every class, raw and corrected. name: "share" or "gap"."""
    heads = ["value", "this\nlist", "other\nprompts"]
    is_corrected = any(r["estimate"] == "corrected" and r["value"] is not None for r in measured.rows)
    heads += ["corrected", "this\nlist"] if is_corrected else []
    table = Table([Column("attribute"), Column("class"), *numbers(*heads)], title, grouped=True)
    for attribute, names in measured.attributes.items():
        side = spaced(attribute)
        for label in measured.space.classes(names):
            metric = f"{name}[{label}]"
            raw, corrected = (measured.find(metric, estimate, attribute) for estimate in ("raw", "corrected"))
            if raw is None:
                continue
            cells: list[str | Cell] = [
                Cell(number(raw["value"]), share=raw["value"] if name == "share" else None),
                interval(raw),
                interval(measured.find(metric, "raw", attribute, OTHER_PROMPTS)),
            ]
            if is_corrected and corrected is not None:
                cells += [number(corrected["value"]), interval(corrected)]
            table.add(side, label, *cells)
            side = ""
        table.section()
    return table


def interval(row: Row | None) -> str:
    """Return the limits of a row's interval; empty where there is none."""
    return "" if row is None else span(row["ci_low"], row["ci_high"])
