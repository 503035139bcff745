"""`fairbench list` and `fairbench show`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairbench.display.plain import echo, say
from fairbench.errors import FairbenchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fairbench.cards.cards import LabellerCard

CARDS = ("models", "tasks", "labellers")
PLUGINS = ("metrics", "scorers", "methods", "adapters", "detectors", "crops", "classifiers")
KINDS = (*CARDS, *PLUGINS)
SHOWN = (*(kind[:-1] for kind in KINDS), "columns")


def list_(kind: Annotated[str | None, typer.Argument(help=" | ".join(KINDS), show_default=False)] = None) -> None:
    """List what there is, third-party plug-ins included."""
    from rich.console import Console

    from fairbench import registry

    if kind is None:
        _print((name, ", ".join(_names(name))) for name in KINDS)
        say(Console(), "\n`fairbench list KIND` describes each, `fairbench show` one of them.")
        return
    if kind not in KINDS:
        raise FairbenchError(f"There is nothing called {kind!r} to list{registry.suggest(kind, KINDS)}.")
    _print((name, _about(kind, name)) for name in _names(kind))
    if kind == "metrics":
        from fairbench.display.dictionary import ESTIMATES

        echo("\nEstimated of every attribute, beside these:")
        _print((name, summary) for name, (summary, _) in ESTIMATES.items())


def _names(kind: str) -> Iterable[str]:
    from fairbench import registry
    from fairbench.cards import catalog

    return catalog.find(kind) if kind in CARDS else registry.names(kind)  # type: ignore[arg-type]


def _print(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are, in two columns."""
    from rich.console import Console

    from fairbench.display.tables import Column, Table

    table = Table([Column(""), Column("", wraps=True)])
    for name, words in rows:
        table.add(name, words)
    table.show(Console())


def _about(kind: str, name: str) -> str:
    """Return a card's title or the first sentence about a plug-in; of what is broken, why."""
    from fairbench import registry
    from fairbench.cards import catalog, yamlfile

    try:
        if kind in CARDS:
            return str(yamlfile.load(catalog.find(kind)[name]).data.get("title", ""))  # type: ignore[arg-type]
        plugin = registry.resolve(kind, name)
    except FairbenchError as err:
        return f"(broken: {err})"
    spec = getattr(plugin, "spec", None)
    return str(spec.summary) if spec is not None else (inspect.getdoc(plugin) or "").split("\n")[0]


def show(
    kind: Annotated[str, typer.Argument(help=" | ".join(SHOWN))],
    name: Annotated[
        str, typer.Argument(help="Its name, as `fairbench list` prints it, or a card file.", show_default=False)
    ] = "",
    first: Annotated[
        int | None, typer.Option("--first", min=1, help="Of a task: only the first so many prompts.")
    ] = None,
) -> None:
    """Show one card, metric or plug-in, or columns of tables.

    A task is shown with its prompts, a labeller with what its classes mean, a metric with formula and range; `show
    columns` explains metrics.csv and prompts.csv.
    """
    from fairbench import registry
    from fairbench.cards import catalog

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


def _columns() -> None:
    from fairbench.display.dictionary import COLUMNS, PROMPT_COLUMNS

    for file, columns in (("metrics.csv", COLUMNS), ("prompts.csv", PROMPT_COLUMNS)):
        echo(f"{file}")
        _print(columns.items())
        echo("")


def _task(name: str, first: int | None) -> None:
    """Print a task's card and its prompts: all, for they are what a model is asked."""
    from fairbench.cards import catalog
    from fairbench.runs.prompts import expand

    task = catalog.load_task(name).card
    prompts = expand(task)
    echo(_yaml(task.model_dump(exclude_none=True)))
    echo(f"\n{len(prompts)} prompts" + (f", the first {first}" if first and first < len(prompts) else ""))
    for prompt in prompts[:first]:
        echo(f"  {prompt.text}")


def _classes(card: LabellerCard) -> None:
    """Print what every class of a labeller means."""
    from rich.console import Console

    from fairbench.display.labels import meaning
    from fairbench.display.note import LABEL_NOTE
    from fairbench.display.tables import Column, Table

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
    from rich.console import Console

    from fairbench import registry
    from fairbench.display import dictionary

    text = dictionary.about(name) if kind == "metric" else None
    if text is None:
        plugin: Any = registry.resolve(f"{kind}s", name)
        spec = getattr(plugin, "spec", None)
        about = inspect.getdoc(getattr(plugin, "fn", plugin)) or ""
        text = f"{name}: {spec.summary}\n\n{about}" if spec is not None else f"{name}: {about}"
    console = Console()
    for paragraph in text.split("\n\n"):
        set_out = ">>>" in paragraph or "\n " in paragraph  # examples and lists keep their lines
        say(console, (paragraph if set_out else paragraph.replace("\n", " ")) + "\n")


def _yaml(data: dict[str, object]) -> str:
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=78)).rstrip()
