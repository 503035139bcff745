"""The wordings of a balanced set: the task's neutral prompts, or templates of the user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fairbench import keys
from fairbench.cards.cards import Template
from fairbench.cards.textfile import MIB, read_text
from fairbench.errors import FairbenchError
from fairbench.types import Prompt


def read_templates(path: Path) -> tuple[str, ...]:
    """Read wordings: one per line, each with {subject} once; empty lines and lines that begin with # are skipped."""
    line_of: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, read_text(path, MIB).splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            Template(id=f"line-{number}", text=line)
        except ValidationError as err:
            raise FairbenchError(f"{path}, line {number}: {line!r} must hold {{subject}} exactly once.") from err
        if line in line_of:
            raise FairbenchError(f"{path}, line {number}: {line!r} is in line {line_of[line]} already.")
        line_of[line] = number
    if not line_of:
        raise FairbenchError(f"{path} holds no template: write one per line, with {{subject}} in it.")
    return tuple(line_of)


def reworded(prompts: Sequence[Prompt], templates: Sequence[str]) -> list[Prompt]:
    """Return every subject of the prompts under every template, subjects outermost."""
    first_of = {prompt.subject: prompt for prompt in reversed(prompts)}
    new_prompts = []
    for subject in dict.fromkeys(prompt.subject for prompt in prompts):
        for number, template in enumerate(templates):
            text = template.replace("{subject}", subject)
            prompt = dataclasses.replace(first_of[subject], text=text, template_id=f"rewording-{number}", stated={})
            prompt_id = keys.prompt_id(text)
            new_prompts.append(dataclasses.replace(prompt, prompt_id=prompt_id, neutral_id=prompt_id))
    return new_prompts


def neutral(prompts: Sequence[Prompt], templates: Sequence[str] | None) -> list[Prompt]:
    """Return the prompts, reworded where there are templates. Raises FairbenchError for one that states a group."""
    if templates is not None:
        return reworded(prompts, templates)
    if stating := next((p for p in prompts if p.stated), None):
        raise FairbenchError(
            f"Task {stating.task}: the prompt {stating.text!r} states {', '.join(stating.stated)}, a balanced set "
            "needs neutral prompts: name another task, or word its subjects anew with --templates."
        )
    return list(prompts)
