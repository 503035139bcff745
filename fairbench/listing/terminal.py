"""What there is, in words: cards, plug-ins, and the columns of a run's tables."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from rich.console import Console

from fairbench import registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import LabellerCard
from fairbench.display import dictionary
from fairbench.display.labels import meaning
from fairbench.display.note import LABEL_NOTE
from fairbench.display.plain import echo, say
from fairbench.display.tables import Column, Table
from fairbench.errors import FairbenchError
from fairbench.listing.kinds import CARDS, KINDS, SHOWN
from fairbench.runs.prompts import expand


def list_kind(kind: str | None) -> None:
    """Print the names of one kind with a sentence on each; None: the names of all kinds. Raises FairbenchError."""
    if kind is None:
        _print((name, ", ".join(_names(name))) for name in KINDS)
        say(Console(), "\n`fairbench list KIND` describes each, `fairbench show` one of them.")
        return
    if kind not in KINDS:
        raise FairbenchError(f"There is nothing called {kind!r} to list{registry.suggest(kind, KINDS)}.")
    _print((name, _about(kind, name)) for name in _names(kind))
    if kind == "metrics":
        echo("\nEstimated of every attribute, beside these:")
        _print((name, summary) for name, (summary, _) in dictionary.ESTIMATES.items())


def show(kind: str, name: str, first: int | None) -> None:
    """Print all about one card or plug-in, or about the columns. first: of a task, so many prompts.

    Raises FairbenchError for what there is not.
    """
    if kind not in SHOWN:
        raise FairbenchError(f"{kind!r} cannot be shown{registry.suggest(kind, SHOWN)}.")
    if kind == "columns":
        _columns()
    elif not name:
        raise FairbenchError(f"Name the {kind} to show: `fairbench list {kind}s` names all.")
    elif kind == "task":
        _task(name, first)
    elif kind == "labeller":
        card = catalog.load_labeller(name).card
        echo(_yaml(card.model_dump(by_alias=True, exclude_none=True)))
        _classes(card)
    elif kind == "model":
        echo(_yaml(catalog.load_model(name).card.model_dump(by_alias=True, exclude_none=True)))
    else:
        _plugin(kind, name)


def _names(kind: str) -> Iterable[str]:
    return catalog.find(kind) if kind in CARDS else registry.names(kind)  # type: ignore[arg-type]


def _print(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are, in two columns."""
    table = Table([Column(""), Column("", wraps=True)])
    for name, words in rows:
        table.add(name, words)
    table.show(Console())


def _about(kind: str, name: str) -> str:
    """Return a card's title or the first sentence about a plug-in; of a broken one, why it is broken."""
    try:
        if kind in CARDS:
            return str(yamlfile.load(catalog.find(kind)[name]).data.get("title", ""))  # type: ignore[arg-type]
        plugin = registry.resolve(kind, name)
    except FairbenchError as err:
        return f"(broken: {err})"
    spec = getattr(plugin, "spec", None)
    return str(spec.summary) if spec is not None else (inspect.getdoc(plugin) or "").split("\n")[0]


def _columns() -> None:
    for file, columns in (("metrics.csv", dictionary.COLUMNS), ("prompts.csv", dictionary.PROMPT_COLUMNS)):
        echo(file)
        _print(columns.items())
        echo("")


def _task(name: str, first: int | None) -> None:
    """Print a task's card and all of its prompts, or the first ones."""
    task = catalog.load_task(name).card
    prompts = expand(task)
    echo(_yaml(task.model_dump(exclude_none=True)))
    echo(f"\n{len(prompts)} prompts" + (f", the first {first}" if first and first < len(prompts) else ""))
    for prompt in prompts[:first]:
        echo(f"  {prompt.text}")


def _classes(card: LabellerCard) -> None:
    """Print what every class of a labeller means."""
    table = Table([Column("attribute"), Column("class"), Column("meaning", wraps=True)], grouped=True)
    for attribute, spec in card.attributes.items():
        names: Mapping[str, str] = spec.map or {}
        for i, label in enumerate(spec.labels):
            table.add("" if i else attribute, label, meaning(label, spec.source, names))
        table.section()
    console = Console()
    console.print()
    table.show(console)
    say(console, LABEL_NOTE, "dim")


def _plugin(kind: str, name: str) -> None:
    text = dictionary.about(name) if kind == "metric" else None
    if text is None:
        plugin: Any = registry.resolve(f"{kind}s", name)
        spec = getattr(plugin, "spec", None)
        about = inspect.getdoc(getattr(plugin, "fn", plugin)) or ""
        text = f"{name}: {spec.summary}\n\n{about}" if spec is not None else f"{name}: {about}"
    console = Console()
    for paragraph in text.split("\n\n"):
        laid_out = ">>>" in paragraph or "\n " in paragraph  # examples and lists keep their lines
        say(console, (paragraph if laid_out else paragraph.replace("\n", " ")) + "\n")


def _yaml(data: dict[str, object]) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=78)).rstrip()
