"""The folder that a training leaves: an adapter in peft's layout, and a file that says what it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairbench import keys
from fairbench.cards.cards import ModelCard
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import FairbenchError, storage_errors
from fairbench.methods import lora as method
from fairbench.networks import lora
from fairbench.networks.janus_tokens import READING_VERSION
from fairbench.storage import atomic, provenance
from fairbench.synthesis.balanced import Balanced
from fairbench.training import checkpoint
from fairbench.training.presets import Settings

VERSION = 1


def digest(data: Balanced, base: Mapping[str, str]) -> str:
    """Return 16 hex digits that stand for the images, for the model that reads them, and for how it does."""
    return keys.digest("training", [data.digest, dict(base), READING_VERSION]).hex()[:16]


def identity(
    settings: Settings, steps: int, data: Balanced, base: Mapping[str, str], parent: Path | None, processes: int,
    prompt_format: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return all that the adapter depends on, as plain data. Raises CardError for a parent that does not fit.

    Each of processes x accumulation parts of a batch has dropout of its own, whichever process has its turn.
    """
    asked = settings.identity()
    asked["processes x accumulation"] = processes * asked.pop("accumulation")
    if parent is not None:
        method.files(parent)
        method.check_base(parent, base)
        del asked["rank"], asked["alpha"]  # these are the parent's
    return {
        **asked,
        "steps": steps,
        "image reading version": READING_VERSION,
        "prompt format": prompt_format,
        "data": data.digest,
        "base": keys.digest("base", dict(base)).hex(),
        "parent": None if parent is None else method.files(parent)[method.WEIGHTS],
    }


def finished(out: Path, asked: Mapping[str, Any]) -> bool:
    """Return whether `out` holds the asked adapter. Raises FairbenchError where it holds another one."""
    path = out / method.PROVENANCE
    if not path.exists():
        return False
    try:
        there = dict(json.loads(path.read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise FairbenchError(f"{path} cannot be read ({type(err).__name__}): name another folder.") from err
    if other := checkpoint.differences(there, dict(asked)):
        raise FairbenchError(f"{out} holds the adapter of another training ({other}): name another folder.")
    return True


def write(
    out: Path, adapter: Any, tensors: lora.Tensors, card: ModelCard, base: Mapping[str, str],
    asked: Mapping[str, Any], data: Balanced, device: str, processes: int,
) -> None:  # fmt: skip
    """Write the adapter's files, and last its provenance; what killed writers left of them goes. Raises StoreError."""
    with storage_errors(out):
        atomic.remove_orphans(out, re.compile(r"adapter_config\.json|adapter_model\.safetensors|provenance\.json"))
    repo, revision = (card.weights.repo, card.weights.revision) if card.weights else (None, None)
    for file, content in lora.files(adapter, tensors, repo or card.name, revision).items():
        atomic.write_bytes(out / file, content)
    record = {
        "fairbench.adapter": VERSION,
        "note": LABEL_NOTE,
        "base": {"model": card.name, "weights": dict(base)},
        "data": {
            "digest": data.digest,
            "images": len(data.rows),
            "prompts": list(dict.fromkeys(row.prompt for row in data.rows)),
            "groups": [list(group) for group in data.groups],
        },
        "identity": dict(asked),
        "processes": processes,
        "environment": provenance.environment(device),
        "packages": provenance.package_versions(("peft", "accelerate", "safetensors", "torch", "transformers")),
    }
    atomic.write_text(out / method.PROVENANCE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
