"""Finds every problem of a card, with file, field and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fairbench import registry
from fairbench.cards import catalog, truth_table, yamlfile
from fairbench.cards.cards import LabellerCard, ModelCard, PluginRef, TaskCard
from fairbench.cards.yamlfile import Loc, Problem, YamlFile
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling.labeller import Labeller
from fairbench.linting import files
from fairbench.methods import lora
from fairbench.runs.prompts import expand
from fairbench.storage import paths
from fairbench.types import BuildContext

M = TypeVar("M", bound=BaseModel)


def cards_in(path: Path) -> list[Path]:
    """Return the card files at a path: itself, or all cards below a folder. Raises CardError."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CardError(f"{path} does not exist: name a card or a folder of cards.")
    files = sorted(p for p in path.rglob("*") if p.suffix in {".yaml", ".yml"} and not p.name.startswith("."))
    if not files:
        raise CardError(f"{path} holds no .yaml files: name a card or a folder of cards.")
    return files


def problems(path: Path) -> list[Problem]:
    """Return all that is wrong with one card."""
    try:
        file = yamlfile.load(path)
        if "templates" in file.data or "extends" in file.data or path.name == "task.yaml":
            return _parsed(catalog.task_file(path), TaskCard, _task)
        if "routes" in file.data or "classifiers" in file.data:
            return _parsed(file, LabellerCard, _labeller)
        if "method" in file.data:
            return _parsed(file, lora.LoraCard, _lora)
        if "type" in file.data:
            return _parsed(file, PluginRef, _scorer)
        return _parsed(file, ModelCard, _model)
    except FairbenchError as err:
        return [Problem(path, 1, "", str(err))]


def _parsed(file: YamlFile, model: type[M], more: Callable[[YamlFile, M], Iterator[Problem]]) -> list[Problem]:
    """Return what the card's own model refuses; where that is nothing, what only the card's surroundings tell."""
    try:
        card = model.model_validate(file.data)
    except ValidationError as err:
        return yamlfile.problems(file, err)
    return list(more(file, card))


def _task(file: YamlFile, card: TaskCard) -> Iterator[Problem]:
    if file.path.name == "task.yaml" and file.path.resolve().parent.name != card.name:
        yield _problem(file, ("name",), f"it is {card.name!r}, but the folder's name differs")
    try:
        expand(card)
    except CardError as err:
        yield _problem(file, ("subjects",), str(err))
    for loc, message in files.of_references(card):
        yield _problem(file, loc, message)


def _model(file: YamlFile, card: ModelCard) -> Iterator[Problem]:
    sampling_problems = list(_params(file, "adapters", card.adapter, card.sampling, ("adapter",), ("sampling",)))
    yield from sampling_problems or _adapter(file, card)
    for name, params in card.scorers.items():
        yield from _params(file, "scorers", name, params, ("scorers", name), ("scorers", name))
    for loc, message in files.of_params(card, (), file.path.resolve().parent):
        yield _problem(file, loc, message)
    if card.lora is not None:
        try:
            lora.files(file.path.resolve().parent / paths.expand(card.lora))
        except CardError as err:
            yield _problem(file, ("lora",), str(err))
    if card.default_task is not None:
        try:
            catalog.load_task(card.default_task)
        except CardError as err:
            yield _problem(file, ("default_task",), str(err))
    try:
        labeller = catalog.load_labeller(card.labeller).card
    except CardError as err:
        yield _problem(file, ("labeller",), str(err))
    else:
        yield from _truth(file, card, labeller)


def _adapter(file: YamlFile, card: ModelCard) -> Iterator[Problem]:
    """Build the adapter, which loads no weights: it refuses a card that it cannot serve."""
    plugin = registry.resolve("adapters", card.adapter)
    try:
        params = registry.parse_params(plugin, card.sampling)
        plugin(card, params, BuildContext(base_dir=file.path.resolve().parent))
    except FairbenchError as err:
        yield _problem(file, ("adapter",), str(err))
    except Exception as err:  # noqa: BLE001 - a third party's code; the card's author needs a sentence
        yield _problem(file, ("adapter",), f"{card.adapter} cannot be built: {type(err).__name__}: {err}")


def _problem(file: YamlFile, loc: Loc, message: str) -> Problem:
    return Problem(file.path, file.line(loc), ".".join(map(str, loc)), message.rstrip("."))


def _truth(file: YamlFile, card: ModelCard, labeller: LabellerCard) -> Iterator[Problem]:
    """Check the tables of known truth against the labels of the card's own labeller."""
    for i, table in enumerate(card.truth):
        for j, name in enumerate(table.attributes):
            if name not in labeller.attributes:
                hint = registry.suggest(name, labeller.attributes)
                message = f"the labeller {labeller.name} has no attribute {name!r}{hint}"
                yield _problem(file, ("truth", i, "attributes", j), message)
        labels = [labeller.attributes[a].labels for a in table.attributes if a in labeller.attributes]
        if len(labels) < len(table.attributes):
            continue
        try:
            path = truth_table.locate(table.file, file.path.resolve().parent)
            truth_table.read(path, truth_table.columns(labels))
        except CardError as err:
            yield _problem(file, ("truth", i, "file"), str(err))


def _lora(file: YamlFile, card: lora.LoraCard) -> Iterator[Problem]:
    """Check a file that `--method lora:` may name."""
    for loc, message in files.of_params(card, (), file.path.resolve().parent):
        yield _problem(file, loc, message)


def _scorer(file: YamlFile, ref: PluginRef) -> Iterator[Problem]:
    """Check a file that `--scorers` may name."""
    yield from _params(file, "scorers", ref.type, ref.params, ("type",), ())


def _labeller(file: YamlFile, card: LabellerCard) -> Iterator[Problem]:
    problems_of_parts: list[Problem] = []
    for i, route in enumerate(card.routes):
        for kind, name in (("detectors", "detector"), ("crops", "crop")):
            ref = getattr(route, name)
            problems_of_parts += _params(
                file, kind, ref.type, ref.params, ("routes", i, name, "type"), ("routes", i, name)
            )
    for i, ref in enumerate(card.classifiers):
        problems_of_parts += _params(
            file, "classifiers", ref.type, ref.params, ("classifiers", i, "type"), ("classifiers", i)
        )
    problems_of_parts += _heads(file, card)
    yield from problems_of_parts
    if not problems_of_parts:  # what only the parts together can get wrong
        try:
            Labeller(catalog.Loaded(card, file.path))
        except CardError as err:
            yield _problem(file, ("routes",), str(err))
    try:
        confusion.of_labeller(catalog.Loaded(card, file.path))
    except CardError as err:
        yield _problem(file, ("calibration",), str(err))


def _heads(file: YamlFile, card: LabellerCard) -> Iterator[Problem]:
    """Find heads that belong to no attribute, and attributes that no classifier gives (where all declare heads)."""
    base = [name for name, spec in card.attributes.items() if spec.source is None]
    heads = [_heads_of(("classifiers", i), ref.params) for i, ref in enumerate(card.classifiers)]
    with_classifier: set[str] = set()
    for loc, head in heads:
        for name in head if isinstance(head, dict) else ():
            if name not in base:
                yield _problem(file, (*loc, str(name)), f"there is no attribute {name!r} without `from`")
            if name in with_classifier:
                yield _problem(file, (*loc, str(name)), "another classifier gives this attribute already")
            with_classifier.add(str(name))
    for name in base if all(isinstance(head, dict) for _, head in heads) else ():
        if name not in with_classifier:
            yield _problem(file, ("attributes", name), "no classifier gives it, and it has no `from`")


def _heads_of(loc: Loc, params: dict[str, Any]) -> tuple[Loc, Any]:
    """Return where a classifier's heads stand, and the heads; those of a wrapper are those of what it wraps."""
    inner = params.get("classifier")
    return _heads_of((*loc, "classifier"), inner) if isinstance(inner, dict) else ((*loc, "heads"), params.get("heads"))


def _params(file: YamlFile, kind: str, name: str, params: dict[str, Any], type_loc: Loc, loc: Loc) -> Iterator[Problem]:
    try:
        checked = registry.parse_params(registry.resolve(kind, name), params)
    except FairbenchError as err:
        yield _problem(file, type_loc, str(err))
    except ValidationError as err:
        yield from yamlfile.problems(file, err, loc)
    else:
        for field, message in files.of_params(checked, loc, file.path.resolve().parent):
            yield _problem(file, field, message)
