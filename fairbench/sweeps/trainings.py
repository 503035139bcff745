"""The trainings of a sweep, and how long each took."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from fairbench.display.progress import Progress
from fairbench.storage import atomic, jsonfile
from fairbench.sweeps import pilot
from fairbench.sweeps.arms import Arm
from fairbench.sweeps.design import Design
from fairbench.training import finetune

FOLDER: Final = "seconds"


def train(design: Design, arm: Arm, seed: int, steps: int, progress: Progress) -> dict[str, Any]:
    """Train, or go on with a training that was stopped; return its seconds, and how often it was begun.

    Of a training that was stopped only the last part is timed, so that its seconds are None.
    """
    path = design.out / FOLDER / f"{arm.name}-seed-{seed}.json"
    spent: dict[str, Any] = {"begun": 0, "seconds": None, "finished": False}
    if path.exists():
        spent = jsonfile.read(path, unreadable="remove it", broken="remove it")
    if spent["finished"]:
        return spent
    spent["begun"] += 1
    atomic.write_text(path, json.dumps(spent) + "\n")
    began = time.perf_counter()
    finetune.train(design.job(arm, seed, steps, design.adapter(arm, seed)), progress)
    seconds = round(time.perf_counter() - began, 3) if spent["begun"] == 1 else None
    spent = {**spent, "seconds": seconds, "finished": True}
    atomic.write_text(path, json.dumps(spent) + "\n")
    pilot.release()
    return spent
