"""Tasks as folders of their own, and models and labellers as cards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml


def write_task(folder: Path, subjects: Sequence[str] | str, text: str = "A {subject}", **fields: object) -> Path:
    """Write task.yaml and subjects.csv to `folder` and return it; fields: those of the card that differ.

    subjects: one name per row, or the whole file.
    """
    card = {
        "name": folder.name,
        "version": 1,
        "title": "A task of tests",
        "templates": [{"id": "plain", "text": text}],
        "subjects": "subjects.csv",
        "source": "made for tests",
        "licence": "CC0-1.0",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.yaml").write_text(yaml.safe_dump(card | fields, allow_unicode=True), encoding="utf-8")
    table = subjects if isinstance(subjects, str) else "".join(f"{row}\n" for row in ("subject", *subjects))
    (folder / "subjects.csv").write_text(table, encoding="utf-8")
    return folder
