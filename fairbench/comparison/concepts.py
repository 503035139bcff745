"""Runs that have no prompt in common, paired by what their prompts are about: an occupation in two languages."""

from __future__ import annotations

from collections.abc import Sequence

from fairbench.errors import FairbenchError
from fairbench.types import Prompt

Positions = list[dict[bytes, int]]
"""Of each run: the name under which a prompt is paired -> where the prompt stands in the run."""


def positions(prompts_of: Sequence[Sequence[Prompt]], names: Sequence[str], forms: Sequence[str] | None) -> Positions:
    """Return where each run has which concept; a prompt without one is its subject's.

    forms: see `sides.read`. Raises FairbenchError where a run has a concept in several prompts, or no concept is in
    all runs.
    """
    if forms is not None and len(forms) != len(names):
        raise FairbenchError(
            f"--forms names {len(forms)} forms of {len(names)} runs: give one for each, - for a run without forms."
        )
    chosen = forms or [""] * len(names)
    found = [_of_run(*each) for each in zip(prompts_of, names, chosen, strict=True)]
    if not set.intersection(*map(set, found)):
        tasks = " and ".join(dict.fromkeys(p.task for prompts in prompts_of for p in prompts[:1]))
        raise FairbenchError(
            f"The runs have no prompt in common (task {tasks}): compare runs of one task, or concept by concept."
        )
    return found


def _of_run(prompts: Sequence[Prompt], name: str, form: str) -> dict[bytes, int]:
    there = list(dict.fromkeys(p.form for p in prompts if p.form))
    if form and form not in there:
        has = f"has the forms {', '.join(there)}" if there else "has no forms: write - for it"
        raise FairbenchError(f"--forms {form}: {name} {has}.")
    found: dict[bytes, int] = {}
    for i, prompt in enumerate(prompts):
        concept = (prompt.concept or prompt.subject).encode()
        if form and prompt.form != form:
            continue
        if concept in found:
            raise FairbenchError(_several(name, prompts[found[concept]], prompt, there))
        found[concept] = i
    return found


def _several(name: str, first: Prompt, second: Prompt, forms: Sequence[str]) -> str:
    if len(forms) > 1:
        return f"{name} has each concept in the forms {', '.join(forms)}: say with --forms which is compared."
    return (
        f"The runs have no prompt in common, and {name} has two of one concept ({first.text!r}, {second.text!r}): "
        "compare runs of one task."
    )
