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
from fairbench.storage import atomic, folders, provenance

log = logging.getLogger(__name__)


def write(found: Audit, folder: Path) -> dict[str, Any]:
    """Write pictures and audit.json; return what the last holds. Raises FairbenchError, StoreError."""
    whole = manifest(found)
    with folders.replacing(folder, folders.AUDIT) as new:
        try:
            plots.write(found, new)
        except MissingExtra as err:
            log.warning("%s", err)
        atomic.write_text(new / "audit.json", json.dumps(whole, indent=2, allow_nan=False) + "\n")
    return whole


def manifest(found: Audit) -> dict[str, Any]:
    """Return verdicts, results, and what was declared."""
    plan = found.plan
    return {
        "note": LABEL_NOTE,
        "fairbench": fairbench.__version__,
        "model": plan.card.name,
        "task": plan.task,
        "labeller": plan.labeller.card.name,
        "images_per_prompt": len(plan.requests) // len(plan.prompts),
        "seed": plan.settings.seed,
        "run_id": plan.run_id,
        "image_key": plan.image_key,
        "verdicts": [
            {"component": v.component, "finding": v.finding, "words": v.words} for v in verdict.verdicts(found)
        ],
        "summary": verdict.summary(found),
        "cannot_be_concluded": caveats.caveats(found),
        **{f.name: plain(getattr(found, f.name)) for f in dataclasses.fields(found) if f.name != "plan"},
        "notices": [n.record() for n in plan.notices],
        "environment": provenance.environment(plan.ctx.device),
    }
