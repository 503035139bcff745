"""The folder that a training writes: an adapter in peft's layout, and its provenance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fairbench import keys
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import FairbenchError, storage_errors
from fairbench.methods import lora as method
from fairbench.networks import lora
from fairbench.protocols import Distillable
from fairbench.storage import atomic, provenance
from fairbench.synthesis.balanced import Balanced
from fairbench.training import capability, checkpoint
from fairbench.training import card as model_card
from fairbench.training.job import Job

VERSION = 1
_FILES: Final = re.compile(
    r"README\.md|adapter_config\.json|(adapter_model|pytorch_lora_weights)\.safetensors|provenance\.json"
)
LEARNS_GUIDED: Final = ("distill", "grpo")
"""Kinds that learn the guided distribution, with the adapter off in the unconditional rows."""


def digest(data: Balanced, base: Mapping[str, str], image_reading: Any) -> str:
    """Return 16 hex digits that stand for the images, for the model that reads them, and for how it does."""
    return keys.digest("training", [data.digest, dict(base), image_reading]).hex()[:16]


def identity(job: Job, processes: int) -> dict[str, Any]:
    """Return all that the adapter depends on, as plain data. Raises FairbenchError for a parent that does not fit.

    Each of processes x accumulation parts of a batch has dropout of its own, whichever process has its turn.
    """
    settings, model = job.settings.identity(), job.model()
    settings["processes x accumulation"] = processes * settings.pop("accumulation")
    kinds = job.settings.retain[1] if job.settings.retain else ()
    if isinstance(model, Distillable) and (job.settings.kind in LEARNS_GUIDED or "general" in kinds):
        settings["guidance and temperature"] = list(model.drawn_at())
    if job.settings.mixed_precision != "no":  # images that are drawn in reduced precision depend on it
        settings["block size"] = job.card.card.block_size
    if job.target is not None:
        settings["target"] = keys.digest("target", job.target.tolist()).hex()[:16]
    if own := capability.texts(kinds):
        settings["retained texts"] = keys.digest("retained", own).hex()[:16]
    read = {"image reading version": model.image_reading(), "prompt format": model.text_format()}
    parent = None
    if job.parent is not None:
        files = method.files(job.parent)
        parent = files.get(method.WEIGHTS) or files[method.DIFFUSERS_WEIGHTS]
        method.check_base(job.parent, job.base)
        _check_read_alike(job.parent, read)
        _check_rows_alike(job, model)
        del settings["rank"], settings["alpha"]  # these are the parent's
    return {
        **settings,
        "steps": job.schedule.steps,
        **read,
        "data": job.data.digest,
        "base": keys.digest("base", job.base).hex(),
        "targets": job.card.card.lora_targets,
        "parent": parent,
    }


def _check_rows_alike(job: Job, model: Any) -> None:
    """Refuse a parent that is off in unconditional rows where this training has it on, and the other way round."""
    guidance = model.drawn_at()[0] if isinstance(model, Distillable) else 1
    guided = job.settings.kind in LEARNS_GUIDED
    if job.parent is not None and guidance != 1 and lora.is_guided(job.parent) != guided:
        raise FairbenchError(
            f"--from {job.parent}: adapters of {' and '.join(LEARNS_GUIDED)} are off in unconditional rows, those of "
            "other trainings are on, and at a guidance above 1 one cannot go on as the other: train it again."
        )


def _check_read_alike(parent: Path, read: dict[str, Any]) -> None:
    """Refuse a parent that learned from other image tokens or other prompts than the model has now."""
    record = method.provenance(parent)
    trained = (record or {}).get("identity")
    if trained is None:  # of an adapter without a record nothing is known, which check_base says
        return
    if misfit := checkpoint.differences({name: trained[name] for name in read if name in trained}, read):
        raise FairbenchError(
            f"--from {parent} was trained on what the model reads otherwise ({misfit}): train it again."
        )


def finished(out: Path, identity: dict[str, Any]) -> bool:
    """Return whether `out` holds the adapter of this identity. Raises FairbenchError where it holds another one."""
    path = out / method.PROVENANCE
    if not path.exists():
        return False
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise FairbenchError(f"{path} cannot be read ({type(err).__name__}): name another folder.") from err
    if differences := checkpoint.differences(stored, identity):
        raise FairbenchError(f"{out} holds the adapter of another training ({differences}): name another folder.")
    return True


def files(job: Job, model: Any, adapter: Any, tensors: lora.Tensors) -> dict[str, bytes]:
    """Return the adapter's files, in the form that the model's adapter reads."""
    if job.trains_diffusion:
        return lora.diffusers_files(adapter, tensors, model.lora_prefix())
    card = job.card.card
    repo, revision = (card.weights.repo, card.weights.revision) if card.weights else (None, None)
    guided = job.settings.kind in LEARNS_GUIDED
    return lora.files(adapter, tensors, repo or card.name, revision, guided=guided)


def write(job: Job, files: Mapping[str, bytes], identity: Mapping[str, Any], device: str, processes: int) -> None:
    """Write the adapter's files, and its provenance last; removes what killed writers left. Raises StoreError."""
    out, card, data = job.out, job.card.card, job.data
    with storage_errors(out):
        atomic.remove_orphans(out, _FILES)
    for file, content in files.items():
        atomic.write_bytes(out / file, content)
    atomic.write_text(out / model_card.FILE, model_card.text(job, identity, processes))
    record = {
        "fairbench.adapter": VERSION,
        "note": LABEL_NOTE,
        "base": {"model": card.name, "weights": job.base},
        "data": {
            "digest": data.digest,
            "images": len(data.rows),
            "prompts": list(dict.fromkeys(row.prompt for row in data.rows)),
            "groups": [list(group) for group in data.groups],
        },
        "identity": dict(identity),
        "processes": processes,
        "environment": provenance.environment(device),
        "packages": provenance.package_versions(
            ("peft", "accelerate", "safetensors", "torch", "transformers", *(["diffusers"] * job.trains_diffusion))
        ),
    }
    atomic.write_text(out / method.PROVENANCE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
