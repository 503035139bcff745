"""What there is, in words: cards, plug-ins, terms, and the columns of a run's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from rich.console import Console

from fairbench.display.estimates import ESTIMATES
from fairbench.display.plain import echo, echo_json, say
from fairbench.display.tables import Column, Table
from fairbench.listing import contents, models
from fairbench.listing.kinds import KINDS


def list_kind(kind: str | None, *, as_json: bool) -> None:
    """Print the names of one kind with a sentence on each; None: the names of all kinds. Raises FairbenchError."""
    if kind is None:
        names = {each: list(contents.names(each)) for each in KINDS}
        if as_json:
            echo_json(names)
            return
        _print((each, ", ".join(of_kind)) for each, of_kind in names.items())
        say(Console(), "\n`fairbench list KIND` describes each, `fairbench show` one of them.")
        return
    if kind == "models":
        if as_json:
            echo_json(models.overview())
        else:
            models.show(Console())
        return
    summaries = contents.summaries(kind)
    estimated = {name: summary for name, (summary, _) in ESTIMATES.items()} if kind == "metrics" else {}
    if as_json:
        echo_json(summaries | estimated)
        return
    _print(summaries.items())
    if estimated:
        echo("\nEstimated of every attribute, beside these:")
        _print(estimated.items())


def show(kind: str, name: str, first: int | None, *, start: Sequence[str] | None = None, as_json: bool = False) -> None:
    """Print all about one card or plug-in, or about the columns.

    first: of a task, so many prompts. start: of a model, what gets it running, a line each.

    Raises FairbenchError for what there is not.
    """
    data = contents.described(kind, name, first)
    if start is not None:
        data["start"] = list(start)
    if as_json:
        echo_json(data)
    elif kind == "columns":
        for file, columns in data.items():
            echo(file)
            _print(columns.items())
            echo("")
    elif "card" not in data:
        _plugin(data)
    else:
        echo(_yaml(data["card"]))
        if start is not None:
            echo("\n".join(["\nTo get it running:", *(f"  {line}" for line in start)]))
        elif kind == "task":
            _prompts(data)
        elif kind == "labeller":
            _classes(data)


def glossary(term: str | None, *, as_json: bool) -> None:
    """Print the terms of the glossary, or one of them. Raises FairbenchError for a term that it lacks."""
    entries = contents.terms(term)
    if as_json:
        echo_json({name: entry._asdict() for name, entry in entries.items()})
        return
    _print((name, entry.definition + (f" ({entry.source})" if entry.source else "")) for name, entry in entries.items())


def _print(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are, in two columns."""
    table = Table([Column(""), Column("", wraps=True)])
    for name, words in rows:
        table.add(name, words)
    table.show(Console())


def _prompts(data: dict[str, Any]) -> None:
    """Print a task's prompts, all or the first ones."""
    count, prompts = data["n_prompts"], data["prompts"]
    echo(f"\n{count} prompts" + (f", the first {len(prompts)}" if len(prompts) < count else ""))
    for prompt in prompts:
        echo(f"  {prompt}")


def _classes(data: dict[str, Any]) -> None:
    """Print what every class of a labeller means."""
    table = Table([Column("attribute"), Column("class"), Column("meaning", wraps=True)], grouped=True)
    for attribute, meanings in data["classes"].items():
        for i, (label, meaning) in enumerate(meanings.items()):
            table.add("" if i else attribute, label, meaning)
        table.section()
    console = Console()
    console.print()
    table.show(console)
    say(console, data["note"], "dim")


def _plugin(data: dict[str, Any]) -> None:
    name, summary, description = data["name"], data["summary"], data["description"]
    text = f"{name}: {description}" if summary is None else f"{name}: {summary}\n\n{description}"
    console = Console()
    for paragraph in text.split("\n\n"):
        laid_out = ">>>" in paragraph or "\n " in paragraph  # examples and lists keep their lines
        say(console, (paragraph if laid_out else paragraph.replace("\n", " ")) + "\n")


def _yaml(data: dict[str, object]) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=68)).rstrip()
