"""The prompts of a task as a text for other tools; as CSV it is a task again: `--task FILE.csv`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from fairbench.errors import FairbenchError
from fairbench.storage import atomic
from fairbench.types import Prompt

FORMATS: Final = ("csv", "jsonl", "txt")
_COLUMNS: Final = ("prompt", "prompt_id", "subject", "category", "concept", "form", "template")


def as_text(prompts: Sequence[Prompt], kind: str) -> str:
    """Return prompts, one a line, in one of FORMATS. Raises FairbenchError for what that format cannot hold."""
    if kind not in FORMATS:
        raise FairbenchError(f"--format {kind}: name csv, jsonl or txt.")
    if kind == "txt":
        return "".join(f"{_one_line(prompt.text)}\n" for prompt in prompts)
    rows = [_row(prompt) for prompt in prompts]
    if kind == "jsonl":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    header = list(dict.fromkeys([*_COLUMNS, *(name for row in rows for name in row)]))
    return atomic.csv_text([header, *([row.get(name) for name in header] for row in rows)])


def _row(prompt: Prompt) -> dict[str, Any]:
    facts = (prompt.text, prompt.prompt_id.hex(), prompt.subject, prompt.category, prompt.concept, prompt.form)
    stated = {f"states.{attribute}": label for attribute, label in prompt.stated.items()}
    return {**dict(zip(_COLUMNS, (*facts, prompt.template_id), strict=True)), **stated}


def _one_line(text: str) -> str:
    if len(text.splitlines()) != 1 or text != text.strip():
        raise FairbenchError(f"{text!r} has line ends or outer blanks, which txt cannot hold: choose csv or jsonl.")
    return text
