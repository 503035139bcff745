"""What a run prints: one table a reader can take in, with the counts behind every number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.console import Console

from fairbench.display.labels import expanded
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, percent, span
from fairbench.display.plain import say
from fairbench.display.tables import Cell, Column, Table, numbers
from fairbench.measure.counts import attributes, cross_name
from fairbench.measure.quantities import LIKE_THESE, THESE
from fairbench.measure.series import FACES, QUALITY
from fairbench.runs import known_truth, references
from fairbench.runs.pipeline import Outcome
from fairbench.runs.record import RunRecord

SHOWN = (
    ("rd", "raw"),
    ("rd", "rarefied"),
    ("rd", "corrected"),
    ("concentration", "raw"),
    ("concentration", "corrected"),
)

CAPTION = (
    "Means over prompts, with 95 % intervals for these prompts and for prompts like these. rd: mean absolute "
    "difference of class shares at the faces that there are; rd@n: the same, expected at n faces per prompt; "
    "concentration: of the classes, 0 where they are equal and 1 where one stands alone; as it has no chance floor, "
    "estimates near balance can fall below 0. fair: what a perfectly fair model scores here through this "
    "labeller, on average (and at most, 95 % of the time); most: what a one-sided model can score. Other metrics, "
    "single prompts and shares are in metrics.csv."
)
_CONCENTRATION = {"raw": "concentration", "corrected": "  corrected"}
_MAX_GAPS = 7
"""Attributes with more classes are not in the table of gaps."""
_SUMMARY = (
    *("metric", "attribute", "estimate", "scope", "n0", "value", "ci_low", "ci_high", "ci_method", "error"),
    *("floor", "floor_p95", "ceiling", "calibration_sha", "reason"),
    *("n_prompts", "n_requested", "n_images", "n_faces", "n_excluded"),
)
"""Fields of the metrics table in a result for machines."""
TRUTH_CAPTION = (
    "rd at these n: of as many faces drawn from that truth, on average. concentration: whether the interval for these "
    "prompts holds the truth."
)


def task_values(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the task's rows of the metrics table."""
    assert outcome.metrics is not None
    rows: list[dict[str, Any]] = outcome.metrics.filter(pc.equal(outcome.metrics["scope"], "task")).to_pylist()
    return rows


def summary(outcome: Outcome, record: RunRecord, folder: Path) -> dict[str, Any]:
    """Return the result for machines: every task-level value with its counts and reason."""
    plain = record.model_dump(include={"statuses", "notices", "correction", "truth"})
    return {
        "run_id": record.run_id,
        "folder": str(folder),
        "note": LABEL_NOTE,
        "statuses": plain["statuses"],
        "notices": plain["notices"],
        "metrics": [{name: row[name] for name in _SUMMARY} for row in _task_rows(outcome)],
        "correction": plain["correction"],
        "truth": plain["truth"],
    }


def show(outcome: Outcome, folder: Path, console: Console) -> None:
    """Print the tables."""
    spec = outcome.spec
    values = {(r["metric"], r["attribute"]): r for r in task_values(outcome) if r["estimate"] == "raw"}
    _bias(outcome).show(console)
    console.print()
    _direction(outcome).show(console)
    console.print()
    referred = references.table(outcome)
    if referred is not None:
        referred.show(console)
        console.print()
    _show_correction(outcome, console)
    _show_truth(outcome, console)
    images = ", ".join(f"{n} {status}" for status, n in outcome.statuses["images"].items() if n)
    say(console, f"images: {images}; without a face: {percent(values['no-face-rate', FACES]['value'])}")
    if followed := values.get(("attribute-following", FACES)):
        say(console, f"faces that show what their prompt states: {percent(followed['value'])}")
    for (metric, attribute), row in values.items():
        if attribute == QUALITY:
            backbone = next((b for s, b in outcome.backbones.items() if s.replace("-", "_") == metric), "")
            say(console, f"{metric}: {number(row['value'])} {f'({backbone})' if backbone else ''}".rstrip())
    for reason, concerned in _reasons(values).items():
        say(console, f"note: {', '.join(concerned)}: {reason}", "yellow")
    for item in outcome.notices:
        say(console, f"{item.code}: {item.sentence}", "yellow")
    say(console, LABEL_NOTE, "dim")
    say(console, f"run {spec.run_id} in {folder}", wrap=False)


def _bias(outcome: Outcome) -> Table:
    """Return the main table: what is estimated of every attribute, with both intervals, floor and ceiling."""
    spec = outcome.spec
    row_of = {(r["metric"], r["estimate"], r["attribute"], r["scope"]): r for r in _task_rows(outcome)}
    title = f"{spec.card.name} · {spec.method} · {spec.task} · labelled by {spec.labeller.card.name}"
    heads = numbers("value", "these\nprompts", "prompts\nlike these", "fair", "most")
    table = Table([Column("attribute"), Column("estimate"), *heads], title, CAPTION, grouped=True)
    for names in attributes(spec.labeller):
        name = cross_name(names)
        size = math.prod(spec.labeller.declared.size(a) for a in names)
        faces = row_of["rd", "raw", name, THESE]["n_faces"]
        side = Cell(f"{_words(name)}\n{size} classes\n{faces} faces")
        for metric, kind in SHOWN:
            row = row_of[metric, kind, name, THESE]
            if kind == "corrected" and row["value"] is None:
                continue
            label = _label(row)
            floor = "" if row["floor"] is None else f"{number(row['floor'])} ({number(row['floor_p95'])})"
            wider = row_of.get((metric, kind, name, LIKE_THESE))
            table.add(
                side, label, number(row["value"]), _interval(row), _interval(wider), floor, _given(row["ceiling"])
            )
            side = Cell("")
        table.section()
    return table


def _label(row: dict[str, Any]) -> str:
    """Return what a row of the main table estimates; what is corrected stands below its raw value."""
    if row["metric"] == "concentration":
        return _CONCENTRATION[row["estimate"]]
    return {"raw": "rd", "rarefied": f"rd@{row['n0']}", "corrected": "rd corrected"}[str(row["estimate"])]


def _direction(outcome: Outcome) -> Table:
    """Return which way each attribute leans: the signed gap of every class, which a mean of RD hides."""
    columns = [Column("attribute"), Column("gap"), *numbers("value", "these prompts", "prompts like these")]
    note = expanded(label for labels in outcome.spec.labeller.declared.labels.values() for label in labels)
    table = Table(columns, "direction", note, grouped=True)
    rows = [r for r in _task_rows(outcome) if r["metric"].startswith("gap[") and r["estimate"] == "raw"]
    wider = {(r["metric"], r["attribute"]): r for r in rows if r["scope"] == LIKE_THESE}
    single = [a for a in outcome.spec.labeller.declared.labels if outcome.spec.labeller.declared.size(a) <= _MAX_GAPS]
    for attribute in single:
        labels = outcome.spec.labeller.declared.labels[attribute]
        mine = [r for r in rows if r["attribute"] == attribute and r["scope"] == THESE]
        shown = mine[:1] if len(labels) == 2 else mine  # of two classes, one gap is minus the other
        for i, row in enumerate(shown):
            what = f"{labels[0]} - {labels[1]}" if len(labels) == 2 else f"{row['metric'][4:-1]} - the others"
            intervals = _interval(row), _interval(wider[row["metric"], attribute])
            table.add(attribute if not i else "", what, number(row["value"]), *intervals)
    return table


def _task_rows(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.metrics is not None
    rows: list[dict[str, Any]] = outcome.metrics.filter(pc.not_equal(outcome.metrics["scope"], "prompt")).to_pylist()
    return rows


def _interval(row: dict[str, Any] | None) -> str:
    return "" if row is None else span(row["ci_low"], row["ci_high"])


def _given(value: float | None) -> str:
    """Return a number, and nothing where there is none: only what is asked for is said to be absent."""
    return "" if value is None else number(value)


def _words(attribute: str) -> str:
    return attribute.replace("_x_", " x ")


def _show_correction(outcome: Outcome, console: Console) -> None:
    """Say what corrected values assume, or why there are none."""
    correction = outcome.correction
    assert correction is not None
    if correction.assumptions:
        say(console, correction.assumptions, "dim")
    else:
        say(console, f"note: nothing is corrected for the labeller's errors: {correction.reason}", "yellow")


def _show_truth(outcome: Outcome, console: Console) -> None:
    """Print what is known beside what was measured; a table that does not apply is a note."""
    truths = known_truth.compare(outcome)
    tables = [t for t in truths if t.note is None]
    if tables:
        heads = ("measured", *(n for t in tables for n in (t.name, f"{t.name}\nat these n")))
        table = Table([Column("attribute"), Column(""), *numbers(*heads)], "known truth", TRUTH_CAPTION, grouped=True)
        row_of = {(r["metric"], r["estimate"], r["attribute"], r["scope"]): r for r in _task_rows(outcome)}
        for attribute in dict.fromkeys(v.attribute for t in tables for v in t.values):
            values = [next((v for v in t.values if v.attribute == attribute), None) for t in tables]
            _add_rd(table, _words(attribute), values)
            for kind in _CONCENTRATION:
                row = row_of["concentration", kind, attribute, THESE]
                if row["ci_low"] is not None:
                    cells = (c for v in values for c in _covered(v, row))
                    table.add("", _CONCENTRATION[kind], _interval(row), *cells)
        table.show(console)
    for t in truths:
        if t.note is not None:
            say(console, f"note: known truth {t.name!r} is not shown: {t.note}", "yellow")


def _add_rd(table: Table, name: str, values: list[known_truth.Comparison | None]) -> None:
    cells = []
    for v in values:
        cells += ["", ""] if v is None else [number(v.truth), number(v.expected)]
    measured = next((v.measured for v in values if v is not None), None)
    table.add(name, "rd", number(measured), *cells)


def _covered(value: known_truth.Comparison | None, row: dict[str, Any]) -> tuple[str, str]:
    """Return a true concentration, and whether the measured interval holds it."""
    if value is None or value.concentration is None:
        return "", ""
    inside = row["ci_low"] <= value.concentration <= row["ci_high"]
    return number(value.concentration), "inside" if inside else "outside"


def _reasons(values: dict[tuple[str, str], dict[str, Any]]) -> dict[str, list[str]]:
    """Return reason -> what it holds for: attributes, or scores."""
    names_of: dict[str, list[str]] = {}
    for (metric, attribute), row in values.items():
        name = metric if attribute == QUALITY else _words(attribute)
        if row["reason"] and name not in names_of.setdefault(row["reason"], []):
            names_of[row["reason"]].append(name)
    return names_of
