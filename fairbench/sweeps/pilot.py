"""A short training of each arm, in a folder of its own: what its set-up and a step take on this machine, in seconds."""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import nnls

from fairbench.display.progress import Progress
from fairbench.errors import storage_errors
from fairbench.runs import images, spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.labels import LabelStage
from fairbench.storage import reading
from fairbench.storage.store import Store
from fairbench.sweeps.arms import Arm
from fairbench.sweeps.design import CHOSEN, Design
from fairbench.training import capability, finetune, records
from fairbench.types import FloatArray

FOLDER: Final = "pilot"
STEPS: Final = 6
"""Steps of a pilot, at least: where examples are drawn by a share, as many as tell the two kinds' prices apart."""
MAX_STEPS: Final = 40
_SETTLED: Final = 0.25
_BLOCK: Final = 32
_LEAST: Final = 1e-6


def warm_up(design: Design, progress: Progress) -> None:
    """Train for one step, and forget it: else the first pilot alone would pay for what a process loads once."""
    folder = design.out / FOLDER / "warm-up"
    shutil.rmtree(folder, ignore_errors=True)
    finetune.train(design.job(design.arms[0], design.seed, 1, folder), progress)
    shutil.rmtree(folder)
    release()


def of_arm(design: Design, arm: Arm, progress: Progress) -> dict[str, float]:
    """Return what a training takes: `setup` (loading, drawing or encoding its images, writing it) and a `step` whose
    examples are as its share says; and how many `pilot_steps` were timed.
    """
    folder = design.out / FOLDER / arm.name
    shutil.rmtree(folder, ignore_errors=True)  # of a pilot that was killed: its time is not known
    settings = design.settings(arm, design.seed)
    counts = _timed_counts(arm.share, design.seed, settings.batch)
    job = design.job(arm, design.seed, len(counts) + 1, folder, log_every=1)
    began = time.perf_counter()
    finetune.train(job, progress)
    whole = time.perf_counter() - began
    # seconds_a_step is the mean since the first step, which is slower than the others and is no part of the price.
    since_start = [row["seconds_a_step"] * (row["step"] + 1) for row in records.rows(folder)]
    step = max(priced(counts, np.diff(since_start), arm.share), _LEAST)
    shutil.rmtree(folder)
    release()
    setup = max(whole - since_start[-1] + since_start[0] - step, 0.0)
    return {"setup": round(setup, 3), "step": round(step, 6), "pilot_steps": len(counts) + 1}


def _timed_counts(share: float, seed: int, batch: int) -> FloatArray:
    """Return how many examples of each timed step are the trainer's own and capability data, (steps, 2).

    As many steps as it takes to price one of the expected mix about as well as the mean of four of such steps would.
    """
    expected = batch * np.array([1 - share, share])
    counts = list[list[int]]()
    for step in range(1, MAX_STEPS):  # step 0 is not timed
        retained = int(capability.drawn(share, seed, step, batch)[0].sum())
        counts.append([batch - retained, retained])
        table = np.array(counts, dtype=np.float64)
        settled = share in {0, 1} or (
            np.linalg.matrix_rank(table) == 2 and expected @ np.linalg.inv(table.T @ table) @ expected <= _SETTLED
        )
        if step + 1 >= STEPS and settled:
            break
    return table


def priced(counts: FloatArray, seconds: FloatArray, share: float) -> float:
    """Return what a step of the expected mix takes, from steps with these counts (steps, 2) and seconds (steps,).

    Examples of both kinds have prices of their own, not below 0, by least squares. What every step takes besides is in
    both, as all steps have as many examples.
    """
    prices, _ = nnls(counts, seconds)
    return float(counts[0].sum() * np.array([1 - share, share]) @ prices)


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
