"""The runs of a sweep: an arm's training on one set of prompts, or the model itself."""

from __future__ import annotations

from pathlib import Path

from fairbench.display.progress import Progress
from fairbench.runs import files, pipeline, record
from fairbench.storage.store import Store
from fairbench.sweeps import pilot
from fairbench.sweeps.arms import Arm
from fairbench.sweeps.design import Design


def run(design: Design, part: str, arm: Arm | None, seed: int, progress: Progress) -> Path:
    """Do a run, or what is left of it, and return its folder."""
    spec, folder = design.run(part, arm, seed)
    path = folder / record.FILE
    if path.exists() and record.read(path).run_id == spec.run_id:
        return folder
    store = Store(design.store)
    files.prepare(folder, store.files.folder)
    files.write(pipeline.run(spec, store, progress), store, folder, sheets=False)
    pilot.release()
    return folder
