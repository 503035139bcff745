"""What a task's file of subjects says, line by line; also files of whole prompts, which are tasks by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairbench.cards.cards import MAX_PROMPT
from fairbench.cards.csvfile import Columns, read_csv
from fairbench.cards.textfile import read_text
from fairbench.cards.texts import hidden_character
from fairbench.errors import CardError
from fairbench.types import NO_TEXT

MAX_SUBJECT: Final = 1000
"""Characters of every column but `prompt`."""
_STATES: Final = "states."
_WORDS: Final = ("subject", "category", "concept", "form")
OF_SUBJECTS: Final = Columns(("subject",), _WORDS[1:], others="allow")
OF_PROMPTS: Final = Columns(("prompt",), (*_WORDS, "template"), others="allow")


def subjects(path: Path) -> list[dict[str, str]]:
    """Read a subjects file: rows by column. Raises CardError where a subject is empty or stands twice."""
    return _read(path, read_csv(path, OF_SUBJECTS), "subject")


def whole_prompts(path: Path) -> list[dict[str, str]]:
    """Read a file of prompts: of a .csv the column `prompt` (and optionally others), of any other file each line.

    A prompt without a subject is its own. Raises CardError where a prompt is empty or stands twice.
    """
    lines = read_csv(path, OF_PROMPTS) if path.suffix.lower() == ".csv" else _lines(path)
    rows = _read(path, lines, "prompt")
    return [{**row, "subject": row.get("subject") or row["prompt"]} for row in rows]


def stated(row: dict[str, str]) -> dict[str, str]:
    """Return attribute -> label of a row's columns `states.ATTRIBUTE`."""
    return {name.removeprefix(_STATES): text for name, text in row.items() if name.startswith(_STATES) and text}


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if text.strip():
            yield number, {"prompt": text.strip()}


def _read(path: Path, lines: Iterator[tuple[int, dict[str, str]]], name: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    first: dict[str, int] = {}
    for line, row in lines:
        text = row[name]
        if not text:
            raise CardError(f"{path}, line {line}, field {name}: it is empty; name a {name} or remove the line.")
        if text in first:
            raise CardError(f"{path}, line {line}, field {name}: {text!r} stands in line {first[text]} already.")
        for field in (name, *_WORDS, "template", *(n for n in row if n.startswith(_STATES))):
            _check(path, line, field, row.get(field, ""), MAX_PROMPT if field == "prompt" else MAX_SUBJECT)
        if name == "prompt" and row.get("template") == NO_TEXT:
            raise CardError(f"{path}, line {line}, field template: {NO_TEXT!r} is kept for images without a prompt.")
        first[text] = line
        rows.append(row)
    if not rows:
        raise CardError(f"{path} holds no {name}s: add a line for each.")
    return rows


def _check(path: Path, line: int, field: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise CardError(f"{path}, line {line}, field {field}: it is longer than {longest:,} characters.")
    hidden = hidden_character(text)
    if hidden is not None:
        raise CardError(
            f"{path}, line {line}, field {field}: it holds the character {hidden}, which cannot be seen; remove it."
        )
