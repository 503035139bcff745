"""Finds every problem of a card and of the files that it names, with file, field and line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fairbench import registry
from fairbench.cards import catalog, truth_table, yamlfile
from fairbench.cards.cards import FileWeights, HubModel, LabellerCard, ModelCard, PluginRef, TaskCard
from fairbench.cards.csvfile import Columns, read_csv
from fairbench.cards.yamlfile import Loc, Problem, YamlFile
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling.labeller import Labeller
from fairbench.linting import recipes
from fairbench.methods import lora
from fairbench.networks import weights
from fairbench.runs.prompts import expand
from fairbench.storage import paths
from fairbench.types import BuildContext
from fairbench.workers.params import WorkerParams
from fairbench.workers.places import Places

M = TypeVar("M", bound=BaseModel)


def cards_in(path: Path) -> list[Path]:
    """Return the card files at a path: itself, or all cards below a folder, and recipes in folders called `workers`.

    Raises CardError.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CardError(f"{path} does not exist: name a card or a folder of cards.")
    files = sorted(p for p in path.rglob("*") if _is_card(p) and not p.name.startswith("."))
    if not files:
        raise CardError(f"{path} holds no .yaml files: name a card or a folder of cards.")
    return files


def _is_card(path: Path) -> bool:
    return path.suffix in {".yaml", ".yml"} or (path.suffix == ".py" and path.parent.name == "workers")


def problems(path: Path) -> list[Problem]:
    """Return all that is wrong with one card, or one recipe."""
    if path.suffix == ".py":
        return recipes.problems(path)
    try:
        file = yamlfile.load(path)
        if "templates" in file.data or "extends" in file.data or path.name == "task.yaml":
            return _parsed(catalog.task_file(path), TaskCard, _task)
        if "routes" in file.data or "classifiers" in file.data:
            return _parsed(file, LabellerCard, _labeller)
        if "axes" in file.data:
            return [Problem(path, 1, "", "this is a file of axes and no card: `fairbench axes freeze` checks it")]
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


def _problem(file: YamlFile, loc: Loc, message: str) -> Problem:
    return Problem(file.path, file.line(loc), ".".join(map(str, loc)), message.rstrip("."))


def _refused(file: YamlFile, loc: Loc, read: Callable[..., Any], *args: Any) -> Iterator[Problem]:
    """Yield what `read` refuses, as a problem of the field at `loc`."""
    try:
        read(*args)
    except FairbenchError as err:
        yield _problem(file, loc, str(err))


def _task(file: YamlFile, card: TaskCard) -> Iterator[Problem]:
    if file.path.name == "task.yaml" and file.path.resolve().parent.name != card.name:
        yield _problem(file, ("name",), f"it is {card.name!r}, but the folder's name differs")
    yield from _refused(file, ("subjects",), expand, card)
    for attribute, path in card.references.items():
        yield from _refused(file, ("references", attribute), _check_reference, attribute, path)


def _check_reference(attribute: str, path: str) -> None:
    """Refuse a reference that a run with any labeller of the catalog would refuse, or that nothing could read."""
    rows = [row for _, row in read_csv(Path(path), Columns(("subject",), others="allow"))]
    columns = tuple(name for name in (rows[0] if rows else {}) if name != "subject")
    # Those of labellers that share a label with it, else its own columns: another labeller may have them.
    label_sets = {labels for labels in _declared(attribute) if set(labels) & set(columns)} or {columns}
    for labels in sorted(label_sets):
        catalog.reference_file(path, labels)
    if not rows:
        raise CardError(f"{path} holds no rows: add one for each subject")


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


def _model(file: YamlFile, card: ModelCard) -> Iterator[Problem]:
    sampling_problems = list(_params(file, "adapters", card.adapter, card.sampling, ("adapter",), ("sampling",)))
    yield from sampling_problems or _adapter(file, card)
    for name, params in card.scorers.items():
        yield from _params(file, "scorers", name, params, ("scorers", name), ("scorers", name))
    yield from _weights(file, card, ())
    folder = file.path.resolve().parent
    if card.lora is not None:
        yield from _refused(file, ("lora",), lambda path: lora.files(folder / paths.expand(path)), card.lora)
    if card.default_task is not None:
        yield from _refused(file, ("default_task",), catalog.load_task, card.default_task)
    broken = list(_refused(file, ("labeller",), catalog.load_labeller, card.labeller))
    yield from broken or _truth(file, card, catalog.load_labeller(card.labeller).card)


def _adapter(file: YamlFile, card: ModelCard) -> Iterator[Problem]:
    """Build the adapter, which loads no weights: it refuses a card that it cannot serve."""
    plugin = registry.resolve("adapters", card.adapter)
    try:
        params = registry.parse_params(plugin, card.sampling)
        plugin(card, params, BuildContext(base_dir=file.path.resolve().parent))
        if isinstance(params, WorkerParams):
            yield from _worker(file, Places(card, params, file.path.resolve().parent))
    except FairbenchError as err:
        yield _problem(file, ("adapter",), str(err))
    except Exception as err:  # noqa: BLE001 - a third party's code; the card's author needs a sentence
        yield _problem(file, ("adapter",), f"{card.adapter} cannot be built: {type(err).__name__}: {err}")


def _worker(file: YamlFile, places: Places) -> Iterator[Problem]:
    """Find what is wrong with a worker's recipe, and between its environment and the card."""
    yield from recipes.problems(places.recipe.path)
    environment, version = places.environment, places.params.python_version
    if environment is not None and environment.python and version not in (None, environment.python):
        message = f"it is {version}, but {environment.path.name} is for Python {environment.python}"
        yield _problem(file, ("sampling", "python_version"), message)


def _truth(file: YamlFile, card: ModelCard, labeller: LabellerCard) -> Iterator[Problem]:
    """Check the tables of known truth against the labels of the card's own labeller."""
    for i, table in enumerate(card.truth):
        for j, name in enumerate(table.attributes):
            if name not in labeller.attributes:
                hint = registry.suggest(name, labeller.attributes)
                message = f"the labeller {labeller.name} has no attribute {name!r}{hint}"
                yield _problem(file, ("truth", i, "attributes", j), message)
        labels = [labeller.attributes[a].labels for a in table.attributes if a in labeller.attributes]
        if len(labels) == len(table.attributes):
            yield from _refused(file, ("truth", i, "file"), _read_truth, file, table.file, truth_table.columns(labels))


def _read_truth(file: YamlFile, name: str, columns: tuple[str, ...]) -> None:
    truth_table.read(truth_table.locate(name, file.path.resolve().parent), columns)


def _lora(file: YamlFile, card: lora.LoraCard) -> Iterator[Problem]:
    """Check a file that `--method lora:` may name."""
    yield from _weights(file, card, ())


def _scorer(file: YamlFile, ref: PluginRef) -> Iterator[Problem]:
    """Check a file that `--scorers` may name."""
    yield from _params(file, "scorers", ref.type, ref.params, ("type",), ())


def _labeller(file: YamlFile, card: LabellerCard) -> Iterator[Problem]:
    parts: list[tuple[str, PluginRef, Loc]] = []
    for i, route in enumerate(card.routes):
        parts += [
            ("detectors", route.detector, ("routes", i, "detector")),
            ("crops", route.crop, ("routes", i, "crop")),
        ]
    parts += [("classifiers", ref, ("classifiers", i)) for i, ref in enumerate(card.classifiers)]
    of_parts = [p for kind, ref, loc in parts for p in _params(file, kind, ref.type, ref.params, (*loc, "type"), loc)]
    of_parts += _heads(file, card)
    # Where no part is wrong: what only the parts together can get wrong.
    yield from of_parts or _refused(file, ("routes",), Labeller, catalog.Loaded(card, file.path))
    yield from _refused(file, ("calibration",), confusion.of_labeller, catalog.Loaded(card, file.path))


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
        yield from _weights(file, checked, loc)


def _weights(file: YamlFile, value: Any, loc: Loc) -> Iterator[Problem]:
    """Yield the fields of weights, at `loc` in the card, that name a file or folder that is not there.

    What a hub or url can give is not looked up; nor is a file without a path, which the user puts into a folder of
    weights.
    """
    folder = file.path.resolve().parent
    parts: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, FileWeights) and value.path and not (value.url or value.repo):
        yield from _refused(file, loc, weights.locate, value, folder)
    elif isinstance(value, HubModel) and value.path:
        yield from _refused(file, loc, weights.model_folder, value, folder)
    elif isinstance(value, BaseModel):
        parts = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, dict):
        parts = ((str(key), part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    for name, part in parts:
        yield from _weights(file, part, (*loc, name))
