"""The training loop: AdamW, a warm-up and a cosine, and a state on disk from which any step can be resumed.

What is drawn at a step depends on the seed and the step alone, never on what a process drew before: a run that was
stopped and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairbench.display.progress import SILENT, Progress
from fairbench.errors import FairbenchError
from fairbench.storage import atomic
from fairbench.training import checkpoint
from fairbench.training.schedule import Schedule

STATE, HISTORY = "state.pt", "history.jsonl"
History = list[dict[str, float]]
"""Figures of the logged steps, with the step."""


def fit(
    objective: Any, schedule: Schedule, folder: Path, seed: int, progress: Progress = SILENT, name: str = "training"
) -> History:
    """Train in place until `schedule.steps`, from the state in `folder` if there is one; return the logged figures.

    objective: a torch module that holds all its state; its parameters that require gradients are trained.
    objective(step, rng) returns the loss of one batch drawn from rng and figures to log; objective.after_step does what
    an optimiser does not, such as projections. name: that of the stage, under which the steps are shown.

    torch's own generator is seeded anew at each step. Raises FairbenchError for a state that is damaged or belongs to
    another schedule, seed or module, and for a loss or a gradient that is not finite.
    """
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=schedule.rate, betas=schedule.betas, weight_decay=schedule.weight_decay)
    start, history = _resume(objective, optimiser, schedule, folder, seed)
    with progress.stage(name, schedule.steps - start, "steps") as stage:
        for step in range(start, schedule.steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate_at(step)
            rng = np.random.default_rng([seed, step])
            torch.manual_seed(int(rng.spawn(1)[0].integers(2**63)))  # for dropout; a child leaves `rng` where it is
            loss, figures = objective(step, rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, schedule.clip)
            # Before the step: weights that are not finite would be saved, and no later start could fix them.
            if not (loss.isfinite() and norm.isfinite()):
                culprit = "gradient" if loss.isfinite() else "loss"
                raise FairbenchError(
                    f"The {culprit} at step {step} in {folder} is not a finite number: lower the rate."
                )
            optimiser.step()
            with torch.no_grad():
                objective.after_step(step, rng)
            if step % schedule.log_every == 0 or step + 1 == schedule.steps:
                scalars = {name: float(value) for name, value in figures.items()}
                history.append({"step": step, "loss": float(loss.detach()), **scalars})
            if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
                _save(objective, optimiser, schedule, folder, seed, step + 1, history)
            stage.advance()
    return history


def _identity(schedule: Schedule, seed: int) -> dict[str, Any]:
    """Return all that the result depends on, besides the objective."""
    fields = {name: value for name, value in asdict(schedule).items() if name not in ("save_every", "log_every")}
    return fields | {"seed": seed}


def _save(
    objective: Any, optimiser: Any, schedule: Schedule, folder: Path, seed: int, step: int, history: History
) -> None:
    modules = {"objective": objective.state_dict(), "optimiser": optimiser.state_dict()}
    state = {"step": step, "plan": _identity(schedule, seed), **modules}
    # History first: a history that is longer than the state is cut to it when read back.
    atomic.write_text(folder / HISTORY, "".join(json.dumps(row) + "\n" for row in history))
    checkpoint.save(folder / STATE, state)


def _resume(objective: Any, optimiser: Any, schedule: Schedule, folder: Path, seed: int) -> tuple[int, History]:
    def restore(state: dict[str, Any]) -> str:
        objective.load_state_dict(state["objective"])
        optimiser.load_state_dict(state["optimiser"])
        return ""

    state = checkpoint.resume(folder / STATE, "plan", _identity(schedule, seed), restore)
    if not state:
        return 0, []
    fix = f"put it back, or remove {folder} to start again"
    return state["step"], checkpoint.rows_before(folder / HISTORY, state["step"], fix)
