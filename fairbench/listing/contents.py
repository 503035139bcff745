"""What there is, as plain data: cards, plug-ins, terms, and the columns of a run's tables."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fairbench import registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import LabellerCard
from fairbench.display import dictionary, estimates
from fairbench.display.glossary import GLOSSARY, Entry
from fairbench.display.labels import meaning
from fairbench.display.note import label_note
from fairbench.errors import FairbenchError
from fairbench.labelling.table_labeller import read_by
from fairbench.listing.kinds import CARDS, KINDS, SHOWN
from fairbench.runs.prompts import expand

COLUMNS: Final = {table: dict(columns) for table, (_, columns) in dictionary.TABLES.items()}
"""Table -> column -> what it holds."""


def names(kind: str) -> Iterable[str]:
    """Return the names of a kind."""
    return catalog.find(kind) if kind in CARDS else registry.names(kind)  # type: ignore[arg-type]


def summaries(kind: str) -> dict[str, str]:
    """Return name -> a sentence for all of one kind. Raises FairbenchError for a kind that there is not."""
    if kind not in KINDS:
        raise FairbenchError(f"There is nothing called {kind!r} to list{registry.suggest(kind, KINDS)}.")
    return {name: _summary(kind, name) for name in names(kind)}


def _summary(kind: str, name: str) -> str:
    """Return a card's title or the first sentence about a plug-in; of a broken one, why it is broken."""
    try:
        if kind in CARDS:
            return str(yamlfile.load(catalog.find(kind)[name]).data.get("title", ""))  # type: ignore[arg-type]
        plugin = registry.resolve(kind, name)
    except FairbenchError as err:
        return f"(broken: {err})"
    spec = getattr(plugin, "spec", None)
    return str(spec.summary) if spec is not None else (inspect.getdoc(plugin) or "").split("\n")[0]


def described(kind: str, name: str, first: int | None) -> dict[str, Any]:
    """Return all about one card or plug-in, or about the columns. first: of a task, so many prompts.

    Raises FairbenchError for what there is not.
    """
    if kind not in SHOWN:
        raise FairbenchError(f"{kind!r} is neither a run's folder nor a kind{registry.suggest(kind, SHOWN)}.")
    if kind == "columns":
        return dict(COLUMNS)
    if not name:
        raise FairbenchError(f"Name the {kind} to show: `fairbench list {kind}s` names all.")
    if kind == "model":
        return {"card": catalog.load_model(name).card.model_dump(by_alias=True, exclude_none=True)}
    if kind == "task":
        task = catalog.load_task(name).card
        prompts = [prompt.text for prompt in expand(task)]
        return {"card": task.model_dump(exclude_none=True), "n_prompts": len(prompts), "prompts": prompts[:first]}
    if kind == "labeller":
        labeller = catalog.load_labeller(name).card
        card = labeller.model_dump(by_alias=True, exclude_none=True)
        return {"card": card, "classes": _classes(labeller), "note": label_note(read_by(labeller))}
    return _plugin(kind, name)


def _classes(card: LabellerCard) -> dict[str, dict[str, str]]:
    """Return attribute -> class -> what it means."""
    meanings = {}
    for attribute, spec in card.attributes.items():
        pooled: Mapping[str, str] = spec.map or {}
        meanings[attribute] = {label: meaning(label, spec.source, pooled) for label in spec.labels}
    return meanings


def _plugin(kind: str, name: str) -> dict[str, Any]:
    """Return a plug-in's summary and description, or those of an estimate that is no plug-in, as `share[female]`."""
    estimate = estimates.about(name) if kind == "metric" else None
    if estimate is not None:
        return {"name": name, "summary": estimate[0], "description": estimate[1]}
    plugin: Any = registry.resolve(f"{kind}s", name)
    spec = getattr(plugin, "spec", None)
    description = inspect.getdoc(getattr(plugin, "fn", plugin)) or ""
    return {"name": name, "summary": None if spec is None else spec.summary, "description": description}


def terms(term: str | None) -> dict[str, Entry]:
    """Return the terms of the glossary, or the one of this name, whatever its case. Raises FairbenchError."""
    if term is None:
        return dict(GLOSSARY)
    folded = term.casefold()
    name_of = {word: name for name in GLOSSARY for word in (name.casefold(), *name.casefold().split(", "))}
    if folded in name_of:
        return {name_of[folded]: GLOSSARY[name_of[folded]]}
    holding = [word for word in name_of if folded and folded in word]
    near = list(dict.fromkeys([*holding, *difflib.get_close_matches(folded, name_of, n=3, cutoff=0.5)]))[:3]
    nearest = dict.fromkeys(name_of[word] for word in near)
    advice = f"did you mean {' or '.join(map(repr, nearest))}?" if near else "`fairbench glossary` lists all."
    raise FairbenchError(f"The glossary has no term {term!r}: {advice}")
