"""A model in a file, as users write them, that can be slow and that can kill the process it runs in."""

from __future__ import annotations

from pathlib import Path

TASK = "occupations-mini"
SOURCE = """
import os, signal, time
from pathlib import Path

import numpy as np

from fairbench.phantom.renderer import RACES, render

version = 1


def draw(prompt, seed):
    time.sleep(float(os.environ.get("FAIRBENCH_TEST_SECONDS", "0")))
    fatal = os.environ.get("FAIRBENCH_TEST_FATAL")
    if fatal and fatal in prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    once = os.environ.get("FAIRBENCH_TEST_ONCE")
    if once and not Path(once).exists():
        Path(once).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    rng = np.random.default_rng(seed)
    return render("male" if rng.random() < 0.75 else "female", str(rng.choice(RACES)), rng)
"""


def write(folder: Path) -> str:
    """Write the model into a folder; return what names it."""
    file = folder / "own_model.py"
    file.write_text(SOURCE)
    return f"{file}:draw"
