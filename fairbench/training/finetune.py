"""Fine-tuning with a low-rank adapter, whatever its objective, on one device or many.

A step's examples and its dropout follow from the seed and the step alone, so a stopped training goes on as if it had
not been. A batch is cut into processes x accumulation parts; part k is the same whichever process has its turn.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs
from torch.distributed.checkpoint import state_dict as whole

from fairbench.display.progress import Progress, Stage
from fairbench.errors import FairbenchError, storage_errors
from fairbench.methods import lora as lora_method
from fairbench.networks import lora
from fairbench.protocols import Trainable
from fairbench.storage import atomic, folders, kinds
from fairbench.training import checkpoint, output, trackers
from fairbench.training.job import Job
from fairbench.training.objectives import table
from fairbench.training.objectives.base import STATE_DIR, Figures, Objective, Part, Setup
from fairbench.training.records import Records

STATE, STARTED = "state.pt", "training.json"
_STATE_FILES = re.compile(
    r"state\.pt|(training|tracking|answers-[0-9a-f]{16})\.json|(tokens|latents)-[0-9a-f]{16}\.npy"
)
_DTYPES = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}
_FULL = whole.StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


def train(job: Job, progress: Progress) -> Path:
    """Train, from the state in `job.out` if there is one, and return the adapter's folder.

    Raises FairbenchError: settings that do not fit the machine, a state or an adapter of another training in `out`, a
    loss or images that are not finite numbers, too little memory.
    """
    try:
        return _train(job, progress)
    except torch.OutOfMemoryError as err:
        raise FairbenchError(
            f"The training in {job.out} needs more memory than there is: --checkpointing, --accumulation and a smaller "
            "--batch save some. It goes on at its last state."
        ) from err
    except FloatingPointError as err:
        raise FairbenchError(f"In the training in {job.out} {err}: use --mixed-precision no.") from err


def _train(job: Job, progress: Progress) -> Path:
    table.check(job)
    tracked = trackers.chosen(job.track)
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun and `accelerate launch` set it
    identity = {**output.identity(job, processes), **table.further_identity(job)}
    if os.environ.get("RANK", "0") == "0":  # only one of several processes: it writes while the others would look
        folders.check(job.out, kinds.ADAPTER)
    if output.finished(job.out, identity):
        return job.out
    accelerator = _accelerator(job)
    model, adapter = _load(job, accelerator)
    state = checkpoint.resume(
        job.out / STATE_DIR / STATE, "identity", identity, lambda state: lora.put(adapter, state["adapter"])
    )
    if accelerator.is_main_process:
        checkpoint.same_training(job.out / STATE_DIR / STARTED, identity)  # what lies there is not of another one
        atomic.write_text(job.out / STATE_DIR / STARTED, json.dumps(identity) + "\n")  # marks the folder as ours
    objective = table.built(Setup(job, model, adapter, accelerator, progress))
    module, optimiser = _prepared(job, accelerator, objective, state)
    start = state.get("step", 0)
    recording: contextlib.AbstractContextManager[Records | None] = contextlib.nullcontext()
    if accelerator.is_main_process:
        recording = contextlib.closing(_records(job, start, tracked, identity))
    _set_training(model)
    began = time.perf_counter()
    with recording as records, progress.stage("training", job.schedule.steps - start, "steps") as stage:
        for step in range(start, job.schedule.steps):
            for group in optimiser.param_groups:
                group["lr"] = job.schedule.rate_at(step)
            figures = _step(job, accelerator, objective, module, optimiser, step, stage)
            last = step + 1 == job.schedule.steps
            if records and (step % job.log_every == 0 or last):
                seconds = round((time.perf_counter() - began) / (step + 1 - start), 4)
                records.add(step, {**figures, "rate": job.schedule.rate_at(step), "seconds_a_step": seconds})
            if job.eval_every and ((step + 1) % job.eval_every == 0 or last):
                _evaluate(job, accelerator, model, adapter, records, step)
            if (step + 1) % job.save_every == 0 or last:  # after the evaluation: a kill in between would lose it
                _save(job, accelerator, adapter, module, optimiser, step + 1, identity)
            stage.advance()
    tensors = _gathered(adapter)
    if accelerator.is_main_process:
        files = output.files(job, model, adapter, tensors)
        output.write(job, files, identity, str(accelerator.device), accelerator.num_processes)
        _remove_state(job.out / STATE_DIR)
    accelerator.wait_for_everyone()
    return job.out


def _records(job: Job, start: int, tracked: tuple[str, ...], identity: dict[str, Any]) -> Records:
    settings = {k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in identity.items()}
    return Records(job.out, job.out / STATE_DIR, start, tracked, {"model": job.card.card.name, **settings})


def _remove_state(folder: Path) -> None:
    """Remove the files from which a training is resumed, killed writers' too; any other file there stays."""
    with storage_errors(folder):
        atomic.remove_orphans(folder, _STATE_FILES)
        for path in folder.iterdir():
            if _STATE_FILES.fullmatch(path.name):
                path.unlink()
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _accelerator(job: Job) -> Accelerator:
    """Return the accelerator, with the number of processes that torchrun or `accelerate launch` started."""
    s = job.settings
    if job.device not in {"auto", "cpu", "cuda", "mps"}:
        raise FairbenchError(f"--device {job.device}: name auto, cpu, cuda or mps.")
    try:
        # The first process encodes and evaluates while the others wait, for more than the default ten minutes.
        patience = InitProcessGroupKwargs(timeout=timedelta(hours=24))
        accelerator = Accelerator(
            cpu=job.device == "cpu", mixed_precision=s.mixed_precision, kwargs_handlers=[patience]
        )
    except ValueError as err:
        raise FairbenchError(f"--mixed-precision {s.mixed_precision} is not possible here ({err}): use no.") from err
    if s.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise FairbenchError("--mixed-precision fp16 needs a GPU, and there is none here: use bf16 or no.")
    if job.device not in {"auto", accelerator.device.type}:
        raise FairbenchError(f"--device {job.device}: torch finds no such device here; use --device cpu.")
    parts = accelerator.num_processes * s.accumulation
    if s.batch % parts:
        raise FairbenchError(
            f"A batch of {s.batch} cannot be cut into {accelerator.num_processes} processes x {s.accumulation} "
            "micro-batches: name a multiple."
        )
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise FairbenchError("FSDP is used in its second version: set FSDP_VERSION=2 (fsdp_version: 2).")
    if accelerator.distributed_type == DistributedType.FSDP and (job.eval_every or s.kind in {"grpo", "dft"}):
        drawing = "--eval-every" if job.eval_every else f"train {s.kind}"
        raise FairbenchError(f"{drawing} draws images with the whole model in one process, which FSDP shards.")
    return accelerator


def _load(job: Job, accelerator: Accelerator) -> tuple[Any, Any]:
    """Return the frozen model and, around its network, the adapter that is trained."""
    s, card = job.settings, job.card.card
    assert card.lora_targets is not None
    model: Any = job.model(str(accelerator.device), _DTYPES[s.mixed_precision])
    if job.parent is None:
        adapter = lora.new(model.network(), card.lora_targets, s.rank, s.alpha, s.dropout, s.seed)
    elif job.trains_diffusion:
        file = lora_method.diffusers_file(job.parent)
        adapter = lora.load_diffusers(model.network(), file, model.lora_prefix(), s.dropout)
    else:
        adapter = lora.load(model.network(), job.parent, s.dropout)
    if s.checkpointing and job.trains_diffusion:
        model.recompute()
    elif s.checkpointing:
        model.language_model().activation_checkpointing_enable({"use_reentrant": False})
    return model, adapter


def _prepared(job: Job, accelerator: Accelerator, objective: Objective, state: dict[str, Any]) -> tuple[Any, Any]:
    """Return the module and its optimiser as the accelerator wraps them, the optimiser as the state left it."""
    trained = [p for p in objective.module.parameters() if p.requires_grad]
    plain = torch.optim.AdamW(
        trained, job.schedule.rate, betas=job.schedule.betas, weight_decay=job.schedule.weight_decay
    )
    module, optimiser = accelerator.prepare(objective.module, plain)
    if state:
        inner = accelerator.unwrap_model(module)
        whole.set_optimizer_state_dict(inner, optimiser.optimizer, state["optimiser"], options=_FULL)
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
    return module, optimiser


def _set_training(model: Trainable) -> None:
    """Turn on the adapter's dropout, and gradient checkpointing; what is frozen stays as it is used.

    A whole network in training mode would drop out in its own layers too, and batch norms would change.
    """
    network = model.network().eval()
    for name, module in network.named_modules():
        if "lora_" in name or getattr(module, "gradient_checkpointing", False):
            module.training = True  # of this module alone, not of those in it


def _step(
    job: Job, accelerator: Accelerator, objective: Objective, module: Any, optimiser: Any, step: int, stage: Stage
) -> dict[str, float]:
    """Take one step and return its figures, over all parts of the batch."""
    s = job.settings
    parts = accelerator.num_processes * s.accumulation
    positions = np.arange(s.batch).reshape(parts, -1)
    rows = job.order.examples(step, s.batch).reshape(*positions.shape, -1)
    optimiser.zero_grad(set_to_none=True)
    totals = torch.zeros(1 + len(objective.figures), 2, device=accelerator.device)
    for turn in range(s.accumulation):
        part = turn * accelerator.num_processes + accelerator.process_index
        torch.manual_seed(int(np.random.default_rng([s.seed, step, part, 1]).integers(2**63)))  # of the dropout
        synchronised = turn + 1 == s.accumulation
        with contextlib.nullcontext() if synchronised else accelerator.no_sync(module):
            loss, figures = objective.loss(module, Part(rows[part], step, positions[part]))
            accelerator.backward(loss / s.accumulation)
        totals += _summed(loss, figures, objective.figures, totals)
        stage.within((turn + 1) / s.accumulation)
    norm = accelerator.clip_grad_norm_(module.parameters(), job.schedule.clip)
    sums, counts = accelerator.reduce(totals, "sum").T.tolist()
    means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
    # A scaler of float16 leaves out steps whose gradient overflows; any other such gradient would spoil the weights.
    if not math.isfinite(sums[0]) or (accelerator.scaler is None and not math.isfinite(float(norm))):
        raise FairbenchError(f"Step {step} of the training in {job.out} gives no finite number: lower the rate.")
    optimiser.step()
    named = dict(zip(("loss", *objective.figures), means, strict=True))
    return {**{name: mean for name, mean in named.items() if mean is not None}, "grad_norm": float(norm)}


def _summed(loss: torch.Tensor, figures: Figures, names: Sequence[str], like: torch.Tensor) -> torch.Tensor:
    """Return sums and numbers of values, (1 + names, 2): of the loss, and of figures, which a part can lack."""
    values = [loss.detach().reshape(1), *(figures.get(name, like.new_zeros(0)) for name in names)]
    return torch.stack([torch.stack([v.sum().to(like), like.new_tensor(float(v.numel()))]) for v in values])


def _gathered(adapter: Any) -> lora.Tensors:
    """Return the adapter's weights whole, on the CPU; every process must call this where they are sharded."""
    tensors = lora.tensors_of(adapter)
    full = {name: v.full_tensor() if hasattr(v, "full_tensor") else v for name, v in tensors.items()}
    return {name: v.detach().cpu().contiguous() for name, v in full.items()}


def _save(
    job: Job, accelerator: Accelerator, adapter: Any, module: Any, optimiser: Any, step: int, identity: dict[str, Any]
) -> None:
    state = {
        "step": step,
        "identity": identity,
        "adapter": _gathered(adapter),
        "optimiser": whole.get_optimizer_state_dict(
            accelerator.unwrap_model(module), optimiser.optimizer, options=_FULL
        ),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
    }
    if accelerator.is_main_process:
        checkpoint.save(job.out / STATE_DIR / STATE, state)
    accelerator.wait_for_everyone()


def _evaluate(
    job: Job, accelerator: Accelerator, model: Trainable, adapter: Any, records: Records | None, step: int
) -> None:
    if records is not None and job.evaluate is not None:  # the first process alone
        model.network().eval()
        guided = job.settings.kind in output.LEARNS_GUIDED
        with lora.off_in_blank_rows(adapter, model) if guided else contextlib.nullcontext():
            records.add(step, job.evaluate(model))
        _set_training(model)
    accelerator.wait_for_everyone()
