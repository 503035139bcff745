"""An audit's files: audit.json, and its pictures where matplotlib is installed."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import fairbench
from fairbench.audit import caveats, plots, verdict
from fairbench.audit.run import Audit
from fairbench.display.json_values import plain
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import MissingExtra
from fairbench.storage import atomic, folders, kinds, provenance

log = logging.getLogger(__name__)


def write(audit: Audit, folder: Path) -> dict[str, Any]:
    """Write pictures and audit.json; return what audit.json holds. Raises FairbenchError, StoreError."""
    contents = manifest(audit)
    with folders.replacing(folder, kinds.AUDIT) as new:
        try:
            plots.write(audit, new)
        except MissingExtra as err:
            log.warning("%s", err)
        atomic.write_text(new / "audit.json", json.dumps(contents, indent=2, allow_nan=False) + "\n")
    return contents


def manifest(audit: Audit) -> dict[str, Any]:
    """Return verdicts, results, and all declared settings."""
    spec = audit.plan
    return {
        "note": LABEL_NOTE,
        "fairbench": fairbench.__version__,
        "model": spec.card.name,
        "task": spec.task,
        "labeller": spec.labeller.card.name,
        "images_per_prompt": len(spec.requests) // len(spec.prompts),
        "seed": spec.settings.seed,
        "run_id": spec.run_id,
        "image_key": spec.image_key,
        "verdicts": plain(verdict.verdicts(audit)),
        "summary": verdict.summary(audit),
        "cannot_be_concluded": caveats.caveats(audit),
        **{f.name: plain(getattr(audit, f.name)) for f in dataclasses.fields(audit) if f.name != "plan"},
        "notices": [n.record() for n in spec.notices],
        "environment": provenance.environment(spec.ctx.device),
    }
