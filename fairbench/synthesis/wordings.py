"""The wordings of a balanced set: templates of one's own, and prompts that say their group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fairbench import keys
from fairbench.cards.cards import Template
from fairbench.cards.textfile import MIB, read_text
from fairbench.errors import FairbenchError
from fairbench.methods.common import GENDERS, RACES, instead_of_subject
from fairbench.synthesis.balanced import Group
from fairbench.types import Prompt

SPOKEN = {**GENDERS, **RACES}
"""Label -> the word that a prompt says for it; a label that is not here is its own word."""


def specified(prompt: Prompt, group: Group) -> str:
    """Return the prompt with the group's words before its subject, as in "... of a female White nurse, a person"."""
    words = [SPOKEN.get(label, label.replace("_", " ")) for label in group]
    return instead_of_subject(prompt, " ".join([*words, prompt.subject]))


def read_templates(path: Path) -> tuple[str, ...]:
    """Read wordings: one a line, each with {subject} once; empty lines and lines that begin with # are passed over."""
    lines = read_text(path, MIB).splitlines()
    found: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            Template(id=f"line-{number}", text=line)
        except ValidationError as err:
            raise FairbenchError(f"{path}, line {number}: {line!r} must hold {{subject}} exactly once.") from err
        if line in found:
            raise FairbenchError(f"{path}, line {number}: {line!r} stands in line {found[line]} already.")
        found[line] = number
    if not found:
        raise FairbenchError(f"{path} holds no template: write one a line, with {{subject}} in it.")
    return tuple(found)


def reworded(prompts: Sequence[Prompt], templates: Sequence[str]) -> list[Prompt]:
    """Return every subject of the prompts under every template, subjects outermost."""
    first = {p.subject: p for p in reversed(prompts)}
    found = []
    for prompt in (first[s] for s in dict.fromkeys(p.subject for p in prompts)):
        for number, template in enumerate(templates):
            text = template.replace("{subject}", prompt.subject)
            pid = keys.prompt_id(text)
            name = f"rewording-{number}"
            found.append(
                dataclasses.replace(prompt, prompt_id=pid, neutral_id=pid, text=text, template_id=name, stated={})
            )
    return found


def neutral(prompts: Sequence[Prompt], templates: Sequence[str] | None) -> list[Prompt]:
    """Return the prompts, reworded where there are templates. Raises FairbenchError for one that states a group."""
    if templates is not None:
        return reworded(prompts, templates)
    stating = next((p for p in prompts if p.stated), None)
    if stating is not None:
        raise FairbenchError(
            f"Task {stating.task}: the prompt {stating.text!r} states {', '.join(stating.stated)}, a balanced set "
            "needs neutral prompts: name another task, or word its subjects anew with --templates."
        )
    return list(prompts)
