"""The trainings of a sweep, and how long each took."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.storage import atomic, jsonfile
from fairbench.sweeps import pilot
from fairbench.sweeps.arms import Arm
from fairbench.sweeps.design import Design
from fairbench.training import finetune

FOLDER: Final = "seconds"


def train(design: Design, arm: Arm, seed: int, steps: int, progress: Progress) -> dict[str, Any]:
    """Train, or go on with a training that was stopped; return its seconds, and how often it was begun.

    Of a training that was stopped only the last part is timed, so that its seconds are None. A finished one is checked
    to be this one. Raises FairbenchError.
    """
    out = design.adapter(arm, seed)
    job = design.job(arm, seed, steps, out)
    path = design.out / FOLDER / f"{arm.name}-seed-{seed}.json"
    spent: dict[str, Any] = (
        _read(path) if path.exists() else {"begun": int(out.exists()), "seconds": None, "finished": False}
    )
    if spent["finished"]:
        finetune.train(job, progress)
        return spent
    spent["begun"] += 1
    atomic.write_text(path, json.dumps(spent) + "\n")
    began = time.perf_counter()
    finetune.train(job, progress)
    seconds = round(time.perf_counter() - began, 3) if spent["begun"] == 1 else None
    spent = {**spent, "seconds": seconds, "finished": True}
    atomic.write_text(path, json.dumps(spent) + "\n")
    pilot.release()
    return spent


def _read(path: Path) -> dict[str, Any]:
    """Return what a training's file says. Raises FairbenchError for one that no sweep wrote."""
    fix = "remove it, and the training's time is not known"
    spent = jsonfile.read(path, unreadable=fix, broken=fix)
    kinds = {"begun": int, "seconds": int | float | None, "finished": bool}
    if not isinstance(spent, dict) or not all(isinstance(spent.get(name, path), kind) for name, kind in kinds.items()):
        raise FairbenchError(f"{path} does not hold {', '.join(kinds)} as a sweep writes them: {fix}.")
    return spent
