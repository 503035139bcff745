"""Simulates cells in several processes; what is finished is stored at once, so that a stopped validation goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fairbench.display.progress import Progress
from fairbench.errors import storage_errors
from fairbench.validation import calibrated, compared, corrected, hard, images, people, raw, stress, verdicts
from fairbench.validation.cells import Cell, Result

STUDIES: Final = (
    *raw.STUDIES,
    *hard.STUDIES,
    *corrected.STUDIES,
    *calibrated.STUDIES,
    *compared.STUDIES,
    *stress.STUDIES,
    *images.STUDIES,
    *people.STUDIES,
    *verdicts.STUDIES,
)
CELLS: Final = "validation.cells.jsonl"
"""Finished cells, one JSON record per line."""
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cells_of(quick: bool) -> list[Cell]:
    """Return the cells of all studies."""
    return [cell for study in STUDIES for cell in study.cells(quick)]


def run(cells: Sequence[Cell], folder: Path, jobs: int, progress: Progress) -> list[Result]:
    """Return the results of all cells, in their order.

    Results that lie in the folder already, from the same settings and the same version, are not simulated again.
    Raises StoreError where the folder cannot be written.
    """
    path = folder / CELLS
    results = {result.cell.key: result for result in _stored(path)}
    missing = [cell for cell in cells if cell.key not in results]
    with progress.stage("simulate", len(missing), "cells") as stage:
        for result in _simulated(missing, jobs):
            _append(path, result)
            results[result.cell.key] = result
            stage.advance()
    return [results[cell.key] for cell in cells]


def simulate(cell: Cell) -> Result:
    """Simulate one cell."""
    study = next(s for s in STUDIES if s.name == cell.study)
    start = time.perf_counter()
    return Result(cell, study.run(cell), round(time.perf_counter() - start, 2))


def _simulated(cells: Sequence[Cell], jobs: int) -> Iterator[Result]:
    """Yield results as they are finished; where the caller stops early, the processes end too."""
    if jobs == 1 or len(cells) < 2:
        yield from map(simulate, cells)
        return
    before = {name: os.environ[name] for name in _THREADS if name in os.environ}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # the new processes read it: cells run beside each other
    try:
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(jobs, len(cells)), _ignore_interrupts) as pool:
            yield from pool.imap_unordered(simulate, cells)
    finally:
        for name in _THREADS:
            del os.environ[name]
        os.environ.update(before)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process answers it


def _append(path: Path, result: Result) -> None:
    """Add one line by one write: a stop leaves at most a torn last line, which `_stored` skips."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
        with path.open("ab", buffering=0) as out:
            out.write(b"\n" * torn + json.dumps(result.record()).encode() + b"\n")
            os.fsync(out.fileno())


def _stored(path: Path) -> Iterator[Result]:
    if not path.exists():
        return
    with storage_errors(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        try:
            yield Result.of_record(json.loads(line))
        except (ValueError, KeyError, TypeError):  # torn, or of another version: simulated again
            continue
