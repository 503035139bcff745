"""What a sweep writes: sweep.json, sweep.csv, and a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairbench import __version__
from fairbench.storage import atomic, folders, jsonfile, kinds
from fairbench.sweeps import page
from fairbench.sweeps.arms import BASE
from fairbench.sweeps.design import FILE, Design
from fairbench.sweeps.result import Result, record

COLUMNS: Final = (
    *("arm", "trainer", "retain", "control", "seed", "axis", "better", "margin", "task", "labeller"),
    *("value", "error", "mean", "low", "high", "dominated_by"),
)


def write(result: Result, identity: Mapping[str, Any], design: Design) -> dict[str, Any]:
    """Write everything into the sweep's folder and return the content of sweep.json. Raises StoreError."""
    content = record(result, identity, __version__)
    with folders.replacing(design.out, kinds.SWEEP) as folder:
        settings = (design.out / FILE).read_text(encoding="utf-8")
        atomic.write_text(folder / FILE, settings)
        atomic.write_text(folder / "sweep.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
        atomic.write_text(folder / "sweep.csv", atomic.csv_text([COLUMNS, *_rows(result, identity)]))
        page.write(result, content, folder)
    return content


def read(design: Design) -> dict[str, Any]:
    """Return the content of sweep.json. Raises FairbenchError where it cannot be read."""
    fix = "run the same command again"
    return dict(jsonfile.read(design.out / "sweep.json", unreadable=fix, broken=fix))


def _rows(result: Result, identity: Mapping[str, Any]) -> Iterator[list[object]]:
    """Yield a row per arm, axis and seed; the model itself comes first."""
    arms = {BASE: ("", "", "", ""), **{a.name: (a.trainer, a.retain, a.control, a.name) for a in result.arms}}
    for name, (trainer, retain, control, compared) in arms.items():
        dominated = "; ".join(result.dominated_by(name)) if compared else ""
        for axis in result.axes:
            found = result.summaries[name].get(axis.name)
            if found is None:
                continue
            task, labeller = identity["runs"][axis.part]["task"]["name"], identity["labellers"][axis.part]
            same = [axis.name, axis.better, axis.margin, task, labeller]
            whole = [found.mean, found.low, found.high, dominated]
            for seed, value, error in zip(result.seeds, found.values, found.errors, strict=True):
                yield [name, trainer, retain, control, seed, *same, value, error, *whole]
