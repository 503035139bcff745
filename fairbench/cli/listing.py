"""`fairbench list` and `fairbench show`."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from fairbench.display.plain import echo
from fairbench.errors import FairbenchError

KINDS = (
    "models",
    "tasks",
    "labellers",
    "metrics",
    "scorers",
    "methods",
    "adapters",
    "detectors",
    "crops",
    "classifiers",
)


def list_(kind: Annotated[str, typer.Argument(help=" | ".join(KINDS))]) -> None:
    """List what there is, third-party plug-ins included."""
    from fairbench import catalog, registry, yamlfile

    if kind in ("models", "tasks", "labellers"):
        cards = catalog.find(kind)  # type: ignore[arg-type]
        width = max(map(len, cards), default=0)
        for name, path in cards.items():
            try:
                title = yamlfile.load(path).data.get("title", "")
            except FairbenchError as err:
                title = f"(broken: {err})"
            echo(f"{name:<{width}}  {title}")
        return
    if kind not in KINDS:
        raise FairbenchError(f"There is nothing called {kind!r} to list{registry.suggest(kind, KINDS)}.")
    names = registry.names(kind)
    width = max(map(len, names), default=0)
    for name in names:
        echo(f"{name:<{width}}  {_about(kind, name)}".rstrip())


def _about(kind: str, name: str) -> str:
    from fairbench import registry

    try:
        plugin = registry.resolve(kind, name)
    except FairbenchError as err:
        return f"(broken: {err})"
    spec = getattr(plugin, "spec", None)
    if spec is not None:
        return str(spec.summary)
    return (plugin.__doc__ or "").strip().split("\n")[0]


def show(
    kind: Annotated[str, typer.Argument(help="model | task | labeller | metric | scorer")],
    name: Annotated[str, typer.Argument(help="Its name, as `fairbench list` prints it, or a card file.")],
) -> None:
    """Show one card, or one metric's formula."""
    from fairbench import catalog, registry

    if kind in ("model", "labeller"):
        card = (catalog.load_model if kind == "model" else catalog.load_labeller)(name).card
        echo(_yaml(card.model_dump(by_alias=True, exclude_none=True)))
    elif kind == "task":
        from fairbench.stages.prompts import expand

        task = catalog.load_task(name).card
        prompts = expand(task)
        echo(_yaml(task.model_dump(exclude_none=True)))
        echo(f"{len(prompts)} prompts, the first: {prompts[0].text!r}")
    elif kind in ("metric", "scorer"):
        plugin = registry.resolve(f"{kind}s", name)
        about = inspect.getdoc(getattr(plugin, "fn", plugin)) or ""
        echo(f"{name}: {plugin.spec.summary}\n\n{about}")
    else:
        raise FairbenchError(
            f"{kind!r} cannot be shown{registry.suggest(kind, ('model', 'task', 'labeller', 'metric', 'scorer'))}."
        )


def _yaml(data: dict[str, object]) -> str:
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)).rstrip()
