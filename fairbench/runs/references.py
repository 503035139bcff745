"""A run beside the shares that its task refers to, as those of a workforce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fairbench.display.labels import spaced
from fairbench.display.numbers import number
from fairbench.display.tables import Cell, Column, Table, numbers
from fairbench.measure.counts import telling
from fairbench.measure.quantities import OTHER_PROMPTS
from fairbench.measure.references import AMPLIFICATION, SHIFT, of_prompts
from fairbench.metrics._rd import relative_diversity
from fairbench.runs.terminal_tables import Measured, interval
from fairbench.types import FloatArray

NOTE: Final = (
    "Means over the prompts that have a reference and faces; shift: shown - reference. amplification: how far shares "
    "lie beyond the reference on its own side of .5, of prompts whose reference is at least .05 from it: above 0 the "
    "images exaggerate it. rd of shown above that of the reference: the same, or few faces, as chance adds to rd. Each "
    "prompt's reference is in prompts.csv. Shares of a workforce are self-reported sex or age: no target, and no "
    "appearance."
)


def table(measured: Measured) -> Table | None:
    """Return each class's mean share beside its reference, how far they are apart, and RD of both.

    None where no attribute has a reference.
    """
    subjects = measured.run.prompts["subject"].tolist()
    columns = [
        Column("attribute"),
        Column("share of"),
        *numbers("shown", "reference", "shift", "this\nlist", "other\nprompts"),
    ]
    result = Table(columns, "against the task's reference", f"{NOTE} {_source(measured)}", grouped=True)
    for attribute, labels in measured.space.declared.labels.items():
        reference = of_prompts(measured.record.declared.references, attribute, len(labels), subjects)
        if reference is not None:
            _add(result, measured, attribute, labels, reference)
            result.section()
    return result if result.rows else None


def _add(result: Table, measured: Measured, attribute: str, labels: Sequence[str], reference: FloatArray) -> None:
    """Add the rows of an attribute. reference: (P, K)."""
    shown, side = measured.shares(attribute), spaced(attribute)
    both = ~np.isnan(shown + reference).any(axis=1)
    if not both.any():
        result.add(side, "no prompt has both")
        return
    for k, label in enumerate(telling(labels)):
        means = [float(shares[both, k].mean()) for shares in (shown, reference)]
        bars = (Cell(number(mean), share=mean) for mean in means)
        result.add(side, label, *bars, *_cells(measured, SHIFT, attribute, label))
        amplified = _cells(measured, AMPLIFICATION, attribute, label)
        if amplified[0]:
            result.add("", "  amplification", "", "", *amplified)
        side = ""
    ours, theirs = (float(relative_diversity(shares[both]).mean()) for shares in (shown, reference))
    result.add("", "rd", number(ours), number(theirs), number(ours - theirs, sign=True), "", "")


def _cells(measured: Measured, name: str, attribute: str, label: str) -> list[str]:
    """Return a row's value with its sign, and its intervals; empty where the run has none."""
    metric = f"{name}[{label}]"
    row = measured.find(metric, "raw", attribute)
    if row is None or row["value"] is None:
        return ["", "", ""]
    wider = measured.find(metric, "raw", attribute, OTHER_PROMPTS)
    return [number(row["value"], sign=True), interval(row), interval(wider)]


def _source(measured: Measured) -> str:
    """Return where the references are from, and the hash of each file."""
    task = measured.record.task
    files = ", ".join(f"{name} {sha256[:12]}" for name, sha256 in task.references_sha256.items())
    source = (task.references_source or "not stated").rstrip(".")
    return f"Source: {source}{f'; sha256 of the files: {files}' if files else ''}."
