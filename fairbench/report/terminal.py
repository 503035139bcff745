"""What a run prints: one table a reader can take in, with the counts behind every number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fairbench.report import truth
from fairbench.report.rundir import LABEL_NOTE
from fairbench.stages.counts import attributes, cross_name
from fairbench.stages.estimates import LIKE_THESE, THESE
from fairbench.stages.metrics import FACES, QUALITY
from fairbench.stages.pipeline import Outcome

SHOWN = (("rd", "raw"), ("rd", "rarefied"), ("rd", "corrected"), ("sq", "raw"), ("sq", "corrected"))

CAPTION = (
    "Means over prompts, with 95 % intervals for these prompts and for prompts like these. rd: mean absolute "
    "difference of class shares at the faces that there are; rd@n: the same, expected at n faces a prompt; sq: squared "
    "distance from balance, 0 to 1, free of the chance floor. fair: what a perfectly fair model scores here through "
    "this labeller, on average (and at most, 95 % of the time); most: what a one-sided model can score. Other metrics, "
    "single prompts and shares are in metrics.csv."
)
_MOST_SHOWN = 7
TRUTH_CAPTION = (
    "rd at these n: of as many faces drawn from that truth, on average. sq: whether the interval for these prompts "
    "holds the truth."
)


def task_values(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the task's rows of the metrics table."""
    assert outcome.metrics is not None
    rows: list[dict[str, Any]] = outcome.metrics.filter(pc.equal(outcome.metrics["scope"], "task")).to_pylist()
    return rows


def summary(outcome: Outcome, record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the result for machines: every task-level value with its counts and reason."""
    keep = ("metric", "attribute", "estimate", "scope", "n0", "value", "ci_low", "ci_high", "ci_method", "error",
            "floor", "floor_p95", "ceiling", "calibration_sha", "reason", "n_prompts", "n_requested", "n_images",
            "n_faces", "n_excluded")  # fmt: skip
    return {
        "run_id": record["run_id"],
        "folder": str(folder),
        "note": LABEL_NOTE,
        "statuses": record["statuses"],
        "warnings": record["warnings"],
        "metrics": [{k: row[k] for k in keep} for row in _task_rows(outcome)],
        "correction": record["correction"],
        "truth": record["truth"],
    }


def show(outcome: Outcome, folder: Path, console: Console) -> None:
    """Print the tables."""
    plan = outcome.plan
    values = {(r["metric"], r["attribute"]): r for r in task_values(outcome) if r["estimate"] == "raw"}
    console.print(_bias(outcome))
    console.print(CAPTION, style="dim", highlight=False)
    console.print(_direction(outcome))
    _show_correction(outcome, console)
    _show_truth(outcome, console)
    images = ", ".join(f"{n} {status}" for status, n in outcome.statuses["images"].items() if n)
    console.print(f"images: {images}; without a face: {_percent(values['no-face-rate', FACES])}", highlight=False)
    if followed := values.get(("attribute-following", FACES)):
        console.print(f"faces that show what their prompt states: {_percent(followed)}", highlight=False)
    for (metric, attribute), row in values.items():
        if attribute == QUALITY:
            backbone = next((b for s, b in outcome.backbones.items() if s.replace("-", "_") == metric), "")
            console.print(f"{metric}: {_number(row)} {f'({backbone})' if backbone else ''}", highlight=False)
    for reason, concerned in _reasons(values).items():
        console.print(f"note: {', '.join(concerned)}: {reason}", style="yellow", highlight=False)
    for warning in plan.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False)
    console.print(LABEL_NOTE, style="dim", highlight=False)
    console.print(f"run {plan.run_id} in {folder}", highlight=False, soft_wrap=True)


def _bias(outcome: Outcome) -> Table:
    """Return the main table: what is estimated of every attribute, with both intervals, floor and ceiling."""
    plan = outcome.plan
    known = {(r["metric"], r["estimate"], r["attribute"], r["scope"]): r for r in _task_rows(outcome)}
    title = f"{plan.card.name} · {plan.method} · {plan.task} · labelled by {plan.labeller.card.name}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title)
    table.add_column("attribute", no_wrap=True)
    table.add_column("estimate", no_wrap=True)
    for name in ("value", "these\nprompts", "prompts\nlike these", "fair", "most"):
        table.add_column(name, justify="right", no_wrap=True)
    for names in attributes(plan.labeller):
        name = cross_name(names)
        size = math.prod(plan.labeller.declared.size(a) for a in names)
        faces = known["rd", "raw", name, THESE]["n_faces"]
        side = iter([name.replace("_x_", " x "), f"{size} classes", f"{faces} faces"])
        for metric, kind in SHOWN:
            row = known[metric, kind, name, THESE]
            if kind == "corrected" and row["value"] is None:
                continue
            label = {"raw": metric, "rarefied": f"{metric}@{row['n0']}", "corrected": f"{metric} corrected"}[kind]
            floor = "" if row["floor"] is None else f"{_short(row['floor'])} ({_short(row['floor_p95'])})"
            wider = known.get((metric, kind, name, LIKE_THESE))
            table.add_row(next(side, ""), label, _short(row["value"]) or "none", _interval(row), _interval(wider),
                          floor, _short(row["ceiling"]))  # fmt: skip
        table.add_section()
    return table


def _direction(outcome: Outcome) -> Table:
    """Return which way each attribute leans: the signed gap of every class, which a mean of RD hides."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title="direction")
    for name in ("attribute", "gap"):
        table.add_column(name, no_wrap=True)
    for name in ("value", "these prompts", "prompts like these"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [r for r in _task_rows(outcome) if r["metric"].startswith("gap[") and r["estimate"] == "raw"]
    wider = {(r["metric"], r["attribute"]): r for r in rows if r["scope"] == LIKE_THESE}
    single = [a for a in outcome.plan.labeller.declared.labels if outcome.plan.labeller.declared.size(a) <= _MOST_SHOWN]
    for attribute in single:
        labels = outcome.plan.labeller.declared.labels[attribute]
        mine = [r for r in rows if r["attribute"] == attribute and r["scope"] == THESE]
        shown = mine[:1] if len(labels) == 2 else mine  # of two classes, one gap is minus the other
        for i, row in enumerate(shown):
            what = f"{labels[0]} - {labels[1]}" if len(labels) == 2 else f"{row['metric'][4:-1]} - the others"
            table.add_row(attribute if not i else "", what, _short(row["value"]) or "none", _interval(row),
                          _interval(wider[row["metric"], attribute]))  # fmt: skip
    return table


def _task_rows(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.metrics is not None
    rows: list[dict[str, Any]] = outcome.metrics.filter(pc.not_equal(outcome.metrics["scope"], "prompt")).to_pylist()
    return rows


def _interval(row: dict[str, Any] | None) -> str:
    if row is None or row["ci_low"] is None:
        return ""
    return f"{_short(row['ci_low'])} {_short(row['ci_high'])}"


def _short(value: float | None) -> str:
    """Return three decimals without the leading zero: eighty columns are few."""
    return "" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def _show_correction(outcome: Outcome, console: Console) -> None:
    """Say what corrected values assume, or why there are none."""
    found = outcome.correction
    assert found is not None
    if found.assumptions:
        console.print(found.assumptions, style="dim", highlight=False)
    else:
        console.print(f"note: nothing is corrected for the labeller's errors: {found.reason}", style="yellow",
                      highlight=False)  # fmt: skip


def _show_truth(outcome: Outcome, console: Console) -> None:
    """Print what is known beside what was measured; a table that does not apply is a note."""
    found = truth.known(outcome)
    tables = [t for t in found if t.note is None]
    if tables:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title="known truth")
        table.add_column("attribute", no_wrap=True)
        table.add_column("", no_wrap=True)
        for name in ("measured", *(n for t in tables for n in (t.name, f"{t.name}\nat these n"))):
            table.add_column(name, justify="right", no_wrap=True)
        known = {(r["metric"], r["estimate"], r["attribute"], r["scope"]): r for r in _task_rows(outcome)}
        for attribute in dict.fromkeys(v.attribute for t in tables for v in t.values):
            values = [next((v for v in t.values if v.attribute == attribute), None) for t in tables]
            name = attribute.replace("_x_", " x ")
            _add_rd(table, name, values)
            for kind in ("raw", "corrected"):
                row = known["sq", kind, attribute, THESE]
                if row["ci_low"] is not None:
                    cells = (c for v in values for c in _covered(v, row))
                    table.add_row("", "sq" if kind == "raw" else "sq corr.", _interval(row), *cells)
        console.print()
        console.print(table)
        console.print(TRUTH_CAPTION, style="dim", highlight=False)
    for t in found:
        if t.note is not None:
            console.print(f"note: known truth {t.name!r} is not shown: {t.note}", style="yellow", highlight=False)


def _add_rd(table: Table, name: str, values: list[truth.Comparison | None]) -> None:
    cells = []
    for v in values:
        cells += ["", ""] if v is None else [_short(v.truth) or "none", _short(v.expected) or "none"]
    measured = next((v.measured for v in values if v is not None), None)
    table.add_row(name, "rd", _short(measured) or "none", *cells)


def _covered(value: truth.Comparison | None, row: dict[str, Any]) -> tuple[str, str]:
    """Return a true sq, and whether the measured interval holds it."""
    if value is None or value.sq is None:
        return "", ""
    return _short(value.sq), "inside" if row["ci_low"] <= value.sq <= row["ci_high"] else "outside"


def _reasons(values: dict[tuple[str, str], dict[str, Any]]) -> dict[str, list[str]]:
    """Return reason -> what it holds for: attributes, or scores."""
    found: dict[str, list[str]] = {}
    for (metric, attribute), row in values.items():
        name = metric if attribute == QUALITY else attribute.replace("_x_", " x ")
        if row["reason"] and name not in found.setdefault(row["reason"], []):
            found[row["reason"]].append(name)
    return found


def _number(row: dict[str, Any]) -> str:
    return _decimals(row["value"])


def _decimals(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _percent(row: dict[str, Any]) -> str:
    return "none" if row["value"] is None else f"{100 * row['value']:.1f} %"
