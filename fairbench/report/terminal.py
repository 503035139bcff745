"""What a run prints: one table a reader can take in, with the counts behind every number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fairbench.report import truth
from fairbench.report.rundir import LABEL_NOTE
from fairbench.stages.counts import cross_name
from fairbench.stages.metrics import FACES, QUALITY, attributes
from fairbench.stages.pipeline import Outcome

SHOWN = ("rd", "rd-normalised", "entropy", "spd", "majority-share")

CAPTION = (
    "Mean over prompts of each prompt's value. RD lies in [0, 2/K], the others in [0, 1]; balance is RD 0, SPD 0, "
    "entropy 1. At a finite number of faces even a perfectly balanced model scores above 0."
)
TRUTH_CAPTION = "At these n: as many faces drawn from that truth, mean ± standard deviation."


def task_values(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the task's rows of the metrics table."""
    assert outcome.metrics is not None
    rows: list[dict[str, Any]] = outcome.metrics.filter(pc.equal(outcome.metrics["scope"], "task")).to_pylist()
    return rows


def summary(outcome: Outcome, record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the result for machines: every task-level value with its counts and reason."""
    keep = ("metric", "attribute", "estimate", "value", "reason", "n_requested", "n_images", "n_faces", "n_excluded")
    return {
        "run_id": record["run_id"],
        "folder": str(folder),
        "note": LABEL_NOTE,
        "statuses": record["statuses"],
        "warnings": record["warnings"],
        "metrics": [{k: row[k] for k in keep} for row in task_values(outcome)],
        "truth": record["truth"],
    }


def show(outcome: Outcome, folder: Path, console: Console) -> None:
    """Print the table."""
    plan = outcome.plan
    values = {(r["metric"], r["attribute"]): r for r in task_values(outcome)}
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=f"{plan.card.name} · {plan.method} · {plan.task} · labelled by {plan.labeller.card.name}",
    )
    table.add_column("attribute", no_wrap=True)
    for name in ("K", *SHOWN, "faces"):
        table.add_column(name.replace("-", "-\n"), justify="right", no_wrap=True)
    for names in attributes(plan.labeller):
        name = cross_name(names)
        size = 1
        for a in names:
            size *= plan.labeller.declared.size(a)
        row = values["rd", name]
        table.add_row(
            name.replace("_x_", " x "), str(size), *(_number(values[m, name]) for m in SHOWN), str(row["n_faces"])
        )
    console.print(table)
    console.print(CAPTION, style="dim", highlight=False)
    _show_truth(truth.known(outcome), console)
    images = ", ".join(f"{n} {status}" for status, n in outcome.statuses["images"].items() if n)
    console.print(f"images: {images}; without a face: {_percent(values['no-face-rate', FACES])}", highlight=False)
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


def _show_truth(found: list[truth.KnownTruth], console: Console) -> None:
    """Print RD as it is known beside RD as it was measured; a table that does not apply is a note."""
    tables = [t for t in found if t.note is None]
    if tables:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title="known truth")
        table.add_column("attribute", no_wrap=True)
        for name in ("measured\nrd", *(n for t in tables for n in (f"{t.name}\nrd", f"{t.name}\nat these n"))):
            table.add_column(name, justify="right")
        measured = {v.attribute: v.measured for t in tables for v in t.values}
        for attribute, value in measured.items():
            cells = [_decimals(value)]
            for t in tables:
                own = next((v for v in t.values if v.attribute == attribute), None)
                spread = "" if own is None or own.spread is None else f" ± {own.spread:.3f}"
                cells += ["", ""] if own is None else [_decimals(own.truth), _decimals(own.expected) + spread]
            table.add_row(attribute.replace("_x_", " x "), *cells)
        console.print()
        console.print(table)
        console.print(TRUTH_CAPTION, style="dim", highlight=False)
    for t in found:
        if t.note is not None:
            console.print(f"note: known truth {t.name!r} is not shown: {t.note}", style="yellow", highlight=False)


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
