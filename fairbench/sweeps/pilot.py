"""A short training of each arm, in a folder of its own: what its set-up and a step take on this machine, in seconds."""

from __future__ import annotations

import gc
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from fairbench.display.progress import Progress
from fairbench.errors import storage_errors
from fairbench.runs import images, spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.labels import LabelStage
from fairbench.storage import reading
from fairbench.storage.store import Store
from fairbench.sweeps.arms import Arm
from fairbench.sweeps.design import CHOSEN, Design
from fairbench.training import finetune, records

FOLDER: Final = "pilot"
STEPS: Final = 6
_BLOCK: Final = 32
_LEAST: Final = 1e-6


def of_arm(design: Design, arm: Arm, progress: Progress) -> dict[str, float]:
    """Return what a training takes: `setup` (loading, drawing or encoding its images, writing it) and a `step`."""
    folder = design.out / FOLDER / arm.name
    shutil.rmtree(folder, ignore_errors=True)  # of a pilot that was killed: its time is not known
    job = design.job(arm, design.seed, STEPS, folder, log_every=1)
    began = time.perf_counter()
    finetune.train(job, progress)
    whole = time.perf_counter() - began
    # seconds_a_step is the mean since the first step, which is slower than the others. These differ in how many of
    # their examples are capability data, so that the mean is taken.
    since_start = [row["seconds_a_step"] * (row["step"] + 1) for row in records.rows(folder)]
    step = max(statistics.mean(np.diff(since_start).tolist()), _LEAST)
    shutil.rmtree(folder)
    release()
    return {"setup": round(max(whole - STEPS * step, 0.0), 3), "step": round(step, 6)}


def of_image(design: Design, progress: Progress) -> float:
    """Return what drawing and labelling an image takes, in seconds: of the second block, as the first loads models."""
    settings = RunSettings(
        model=design.model,
        task=design.tasks[CHOSEN],
        labeller=design.labeller,
        images_per_prompt=2 * _BLOCK,
        limit_prompts=1,
        scorers=(),
        device=design.device,
    )
    run = spec.make(settings)
    size, seconds = min(run.ctx.block_size, _BLOCK), 0.0
    with storage_errors(design.out), tempfile.TemporaryDirectory(dir=design.out, prefix=FOLDER) as folder:
        store = Store(Path(folder))
        for block in (run.requests[:size], run.requests[size : 2 * size]):
            began = time.perf_counter()
            images.generate(
                store,
                run.image_key,
                block,
                run.adapter,
                method="pilot",
                adapter=run.card.adapter,
                block_size=size,
                fixed_block=run.fixed_block,
                progress=progress,
                before=run.labeller.load,
            )
            rows = reading.index(store, run.image_key, block)
            LabelStage(store, run.labeller, run.faces_key, run.labels_key).run(rows, progress)
            seconds = (time.perf_counter() - began) / size
    release()
    return round(seconds, 6)


def release() -> None:
    """Give back a GPU's memory that models held which are used no longer; Python gives back its own."""
    import torch

    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
