"""Tasks in folders of their own, and changed copies of shipped labeller cards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from fairbench.cards import catalog


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


def copy_labeller(path: Path, *changes: tuple[str, str], name: str = "phantom", calibration: str | None = None) -> Path:
    """Write a shipped labeller's card to `path`, with its weights where they are, and return the path.

    changes: (old, new) texts, each of which must be there. calibration: the path on the card, None for none.
    """
    source = catalog.find("labellers")[name]
    text = re.sub("^calibration: .*\n", "", source.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    text = text.replace("path: weights/", f"path: {source.parent}/weights/")
    line = f"calibration: {calibration}\n" if calibration else ""
    path.write_text(line + text, encoding="utf-8")
    return path
