"""A run's images as files with readable names, and a manifest of what is known of each."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

from fairbench.errors import FairbenchError
from fairbench.exporting.job import Job
from fairbench.reporting import gallery
from fairbench.runs import evidence
from fairbench.storage import atomic, pixels
from fairbench.types import Prompt

_FIRST: Final = ("file", "sha256", "prompt", "subject", "prompt_id", "sample", "seed", "status", "error", "faces")
_LAST: Final = ("image_id", "model", "method", "licence", "labels_are")


def write(job: Job) -> Path:
    """Write every image that has pixels as a PNG without metadata, one at a time, and the manifest of all images.

    Raises FairbenchError for pictures that are the user's own files, unless they are asked for.
    """
    run = job.content.run
    if gallery.of_files(run) and not job.with_images:
        raise FairbenchError(f"--to images: these pictures are {gallery.REAL_PEOPLE}; --with-images exports them.")
    prompts = evidence.read_prompts(run.folder)
    records = gallery.records(run)
    by_id = {bytes.fromhex(record["id"]): record for record in records}
    drawn = [image_id for image_id, record in by_id.items() if record["status"] in ("ok", "no_face")]
    with job.writing(r"manifest\.(csv|jsonl)|images/\d{4,}-[a-z0-9-]*/\d{4,}-[0-9a-f]{12}\.png") as folder:
        with job.progress.stage("images", len(drawn)) as bar:
            for image_id, image in run.pictures(drawn):
                record = by_id[image_id]
                name = _name(record, prompts[record["prompt"]])
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                data = pixels.encode(pixels.from_pil(image))  # no metadata of the image goes along
                (folder / name).write_bytes(data)
                record |= {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
                bar.advance()
        rows = [_row(job, record, prompts[record["prompt"]]) for record in records]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        atomic.write_chunks(folder / "manifest.jsonl", (line.encode() for line in lines))
        atomic.write_text(folder / "manifest.csv", _csv(job, rows))
    return job.folder / "manifest.csv"


def _name(record: dict[str, Any], prompt: Prompt) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", prompt.subject.lower()).strip("-")[:60].strip("-") or "prompt"
    return f"images/{record['prompt'] + 1:04d}-{words}/{record['sample']:04d}-{record['id'][:12]}.png"


def _row(job: Job, record: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    run = job.content.record
    return {
        "file": record.get("file"),
        "sha256": record.get("sha256"),
        "prompt": record["asked"] or prompt.text,
        "subject": prompt.subject,
        "prompt_id": prompt.neutral_id.hex(),
        "sample": record["sample"],
        "seed": record["seed"],
        "status": record["status"],
        "error": record["error"],
        "faces": record["faces"],
        "image_id": record["id"],
        "model": run.model.name,
        "method": run.method,
        "licence": run.model.licence,
        "labels_are": job.label_note,
    }


def _csv(job: Job, rows: list[dict[str, Any]]) -> str:
    """Return a line per image; labels and probabilities of several faces stand in one cell, with ; between."""
    names = list(job.content.attributes)
    of_labels = [column for name in names for column in (name, f"{name}.prob")]
    lines: list[list[object]] = [[*_FIRST, *of_labels, *_LAST]]
    for row in rows:
        cells = [len(row["faces"]) if name == "faces" else row[name] for name in _FIRST]
        for name in names:
            found = [face["labels"][name] for face in row["faces"]]
            cells += [";".join("" if cell[i] is None else str(cell[i]) for cell in found) for i in (0, 1)]
        lines.append([*cells, *(row[name] for name in _LAST)])
    return atomic.csv_text(lines)
