"""prompts: a task card -> its prompts, in order, and the shares that it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fairbench import contracts, keys
from fairbench.cards import catalog
from fairbench.cards.cards import TaskCard
from fairbench.cards.csvfile import Columns, read_csv
from fairbench.cards.texts import hidden_character, report_near_equal
from fairbench.errors import CardError
from fairbench.measure.series import References
from fairbench.storage import schemas
from fairbench.types import LabelSchema, Prompt

MAX_PROMPTS = 1_000_000
"""Of one task."""
MAX_SUBJECT = 1000
"""Characters of a subject or category."""


def subjects(path: Path) -> list[dict[str, str]]:
    """Read a subjects file. Raises CardError where a subject is empty or stands twice."""
    rows: list[dict[str, str]] = []
    first: dict[str, int] = {}
    for line, row in read_csv(path, Columns(("subject",), ("category",), others="allow")):
        name = row["subject"]
        if not name:
            raise CardError(f"{path}, line {line}, field subject: it is empty; name a subject or remove the line.")
        if name in first:
            raise CardError(f"{path}, line {line}, field subject: {name!r} stands in line {first[name]} already.")
        for field in ("subject", "category"):
            if len(row.get(field, "")) > MAX_SUBJECT:
                raise CardError(f"{path}, line {line}, field {field}: it is longer than {MAX_SUBJECT:,} characters.")
            hidden = hidden_character(row.get(field, ""))
            if hidden is not None:
                raise CardError(
                    f"{path}, line {line}, field {field}: it holds the character {hidden}, which cannot be seen; "
                    "remove it."
                )
        first[name] = line
        rows.append(row)
    if not rows:
        raise CardError(f"{path} holds no subjects: add a line for each.")
    return rows


def expand(task: TaskCard) -> list[Prompt]:
    """Return all prompts: templates x subjects, subjects outermost; reports those that are nearly the same.

    Raises CardError where two texts are the same.
    """
    prompts: dict[bytes, Prompt] = {}
    rows = subjects(Path(task.subjects))
    if len(rows) * len(task.templates) > MAX_PROMPTS:
        raise CardError(
            f"{task.subjects} and {len(task.templates)} templates make more than {MAX_PROMPTS:,} prompts: shorten the "
            "task."
        )
    for row in rows:
        for template in task.templates:
            # Replaced, not formatted: a brace in a subject is a brace. "a" never becomes "an", by the protocol.
            text = template.text.replace("{subject}", row["subject"])
            pid = keys.prompt_id(text)
            if pid in prompts:
                raise CardError(f"Task {task.name}: the prompt {text!r} comes up twice; make the templates differ.")
            facts = (task.name, task.version, template.id, text, row["subject"], row.get("category", ""))
            prompts[pid] = Prompt(pid, pid, *facts, template.states)
    report_near_equal((p.text for p in prompts.values()), f"task {task.name}")
    return list(prompts.values())


def of_task(
    name: str | None, source: Any, title: str, declared: LabelSchema
) -> tuple[list[Prompt], str, int, References, str | None]:
    """Return prompts, task name and version, reference shares for the declared attributes, and the language.

    name: None for images that belong to no task. source: an adapter that has its own images (`title`, in errors), else
    None; it says which of the task's prompts they are of. Raises CardError, PluginError.
    """
    if name is None:
        with contracts.guard(title):
            return source.prompts(None), "folder", 1, {}, None
    task = catalog.load_task(name).card
    prompts = expand(task)
    if source is not None:
        with contracts.guard(title):
            prompts = source.prompts(prompts)
    references = {
        attribute: catalog.reference_file(path, declared.labels[attribute])
        for attribute, path in sorted(task.references.items())
        if attribute in declared.labels
    }
    return prompts, task.name, task.version, references, task.language


def texts_hash(prompts: Sequence[Prompt]) -> str:
    """Return the hash (32 hex digits) of the prompts' texts, in order: what a run declares of its task."""
    return keys.digest("prompts", [p.text for p in prompts]).hex()


def table(prompts: list[Prompt]) -> pa.Table:
    """Return the prompts table."""
    names = schemas.schema("prompts").names
    columns = {n: [getattr(p, n) for p in prompts] for n in names if n != "stated"}
    return schemas.build("prompts", {**columns, "stated": [list(p.stated.items()) for p in prompts]})
