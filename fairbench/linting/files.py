"""What a card's files get wrong: weights that are not where the card says, and references that a run would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fairbench.cards import catalog
from fairbench.cards.cards import FileWeights, HubModel, TaskCard
from fairbench.cards.csvfile import read_csv
from fairbench.cards.yamlfile import Loc
from fairbench.errors import FairbenchError
from fairbench.networks import weights

Findings = Iterator[tuple[Loc, str]]
"""Field of the card, and what is wrong with it."""


def of_params(params: BaseModel, loc: Loc, base_dir: Path | None) -> Findings:
    """Yield the fields of weights, at `loc` in the card, that name a file or folder that is not there.

    What a hub or url can give is not looked up; nor is a file without a path, which the user puts into a folder of
    weights.
    """
    for name in type(params).model_fields:
        yield from _of_value(getattr(params, name), (*loc, name), base_dir)


def _of_value(value: Any, loc: Loc, base_dir: Path | None) -> Findings:
    if isinstance(value, FileWeights) and value.path and not (value.url or value.repo):
        yield from _refused(loc, lambda: weights.locate(value, base_dir))
    elif isinstance(value, HubModel) and value.path:
        yield from _refused(loc, lambda: weights.model_folder(value, base_dir))
    elif isinstance(value, BaseModel):
        yield from of_params(value, loc, base_dir)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _of_value(inner, (*loc, str(key)), base_dir)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _of_value(inner, (*loc, index), base_dir)


def _refused(loc: Loc, find: Any) -> Findings:
    try:
        find()
    except FairbenchError as err:
        yield loc, str(err)


def of_references(card: TaskCard) -> Findings:
    """Yield the references that a run with any labeller of the catalog would refuse, or that nothing could read."""
    for attribute, path in card.references.items():
        loc: Loc = ("references", attribute)
        try:
            rows = [row for _, row in read_csv(Path(path), ("subject",), others="allow")]
            columns = tuple(name for name in (rows[0] if rows else {}) if name != "subject")
            # Those of labellers that share a label with it, else its own columns: another labeller may have them.
            label_sets = {labels for labels in _declared(attribute) if set(labels) & set(columns)} or {columns}
            for labels in sorted(label_sets):
                catalog.reference_file(path, labels)
        except FairbenchError as err:
            yield loc, str(err)
            continue
        if not rows:
            yield loc, f"{path} holds no rows: add one for each subject"


def _declared(attribute: str) -> set[tuple[str, ...]]:
    """Return the labels that the labellers of the catalog declare for an attribute."""
    label_sets = set()
    for name in catalog.find("labellers"):
        try:
            attributes = catalog.load_labeller(name).card.attributes
        except FairbenchError:  # a broken card of another has its own problems
            continue
        if attribute in attributes:
            label_sets.add(tuple(attributes[attribute].labels))
    return label_sets
