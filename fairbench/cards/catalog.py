"""Finds and loads task, model and labeller cards: in the wheel, in a checkout, in FAIRBENCH_PATH, or by path."""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

import fairbench
from fairbench import registry
from fairbench.cards import yamlfile
from fairbench.cards.cards import HubModel, LabellerCard, ModelCard, TaskCard, Template
from fairbench.cards.csvfile import Columns, read_csv
from fairbench.errors import CardError, PluginError
from fairbench.notices import notice

Kind = Literal["tasks", "models", "labellers"]
C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True)
class Loaded(Generic[C]):
    """A card and the file it came from (None: a card made from a bare path)."""

    card: C
    path: Path | None

    @property
    def base_dir(self) -> Path | None:
        """The folder against which the card's relative paths are resolved."""
        return None if self.path is None else self.path.resolve().parent


def roots() -> list[Path]:
    """Return the folders that hold `tasks/` and `models/`: the wheel's data, else our checkout; then FAIRBENCH_PATH."""
    package = Path(fairbench.__file__).resolve().parent
    folders = []
    if (package / "_data").is_dir():
        folders.append(package / "_data")
    elif _is_ours(package.parent / "pyproject.toml"):
        folders.append(package.parent)
    extra = os.environ.get("FAIRBENCH_PATH", "")
    for path in (Path(p).expanduser() for p in extra.split(os.pathsep) if p):
        if path.is_dir():
            folders.append(path)
        else:
            notice("no-folder", f"FAIRBENCH_PATH names {path}, which is no folder: its cards are not found")
    return list({path.resolve(): path for path in folders}.values())


def _is_ours(pyproject: Path) -> bool:
    # The parent of an installed package is site-packages, where a folder called `models` may be anybody's.
    try:
        name = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {}).get("name")
    except (OSError, ValueError):
        return False
    return bool(name == "fairbench-umm")


def find(kind: Kind) -> dict[str, Path]:
    """Return name -> card file of every card of a kind. Raises CardError where two have one name."""
    cards: dict[str, Path] = {}
    patterns = {"tasks": "tasks/*/task.yaml", "models": "models/*.yaml", "labellers": "models/labellers/*.yaml"}
    for root in roots():
        for path in sorted(root.glob(patterns[kind])):
            name = path.parent.name if kind == "tasks" else path.stem
            if name in cards:
                raise CardError(f"Two {kind} are called {name!r} ({cards[name]} and {path}): rename one.")
            cards[name] = path
    if kind == "tasks":
        for name in registry.names("tasks"):
            try:
                cards[name] = _plugin_task(name)
            except PluginError as err:
                notice("plugin-left-out", str(err))
    return cards


def _plugin_task(name: str) -> Path:
    return Path(str(registry.resolve("tasks", name))) / "task.yaml"


def _card_file(kind: Kind, target: str) -> Path:
    cards = find(kind)
    if target in cards:
        return cards[target]
    path = Path(target).expanduser()
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    if kind == "tasks" and (path / "task.yaml").is_file():
        return path / "task.yaml"
    if kind == "tasks" and target in registry.names("tasks"):
        return _plugin_task(target)  # raises the reason why it was left out
    raise CardError(_not_found(kind, target, path, cards))


PROMPT_FILES = (".txt", ".csv")
"""Suffixes of files of whole prompts, which are tasks by themselves."""
_CHECKPOINTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def _not_found(kind: Kind, target: str, path: Path, cards: Iterable[str]) -> str:
    """Say in one sentence why a target is no card, by what it looks like, and what to write instead."""
    noun = kind[:-1]
    if kind == "models" and path.suffix.lower() in _CHECKPOINTS:
        return _single_file(target)
    if kind == "models" and path.suffix == ".py":
        return f"{target} is a Python file: name its function too, as in {target}:draw."
    if path.is_file():
        return f"{target} is no {noun} card: a card is a YAML file, and a model else a folder or ADAPTER:TARGET."
    prefix, colon, rest = target.partition(":")
    hub_id = re.fullmatch(r"(?:https://huggingface\.co/)?([\w.-]+/[\w.-]+)", target)
    local = target.startswith((".", "/", "~")) or "\\" in target or path.suffix in {".yaml", ".yml"}
    if kind == "models" and hub_id and not local:
        adapters = sorted(("diffusers", "janus", "emu3"), key=lambda name: name not in hub_id[1].lower())
        return f"There is no model {target!r} here: for the repository on the Hugging Face hub write {adapters[0]}:" + (
            f"{hub_id[1]} (or {adapters[1]}:{hub_id[1]})."
        )
    if kind == "models" and colon and not local and len(prefix) > 1:  # one letter is a drive of Windows
        names = registry.names("adapters")
        near = f": did you mean {close[0]}:{rest}?" if (close := difflib.get_close_matches(prefix, names, n=1)) else "."
        return f"There is no adapter {prefix!r} (adapters: {', '.join(names)}){near}"
    if local or "/" in target:
        return f"There is no file or folder {target}: fix the path, or name a {noun} of `fairbench list {kind}`."
    return f"There is no {noun} {target!r}{registry.suggest(target, cards)}."


def _single_file(target: str) -> str:
    path = Path(target).expanduser()
    missing = "" if path.is_file() else " (and there is no such file)"
    if path.suffix.lower() != ".safetensors":
        return (
            f"{target} is a checkpoint in a single file that can run code when it is read{missing}: convert it to a "
            "folder with diffusers (pipeline.from_single_file(FILE).save_pretrained(FOLDER)), and name the folder."
        )
    return (
        f"{target} holds weights alone{missing}: write a model card with `adapter: diffusers`, "
        f"`weights: {{path: {target}}}` and `sampling: {{config: {{path: FOLDER}}}}`, a local folder with the "
        "pipeline's configuration."
    )


def load_labeller(target: str) -> Loaded[LabellerCard]:
    """Load a labeller card by name or path. Raises CardError."""
    path = _card_file("labellers", target)
    return Loaded(yamlfile.parse(yamlfile.load(path), LabellerCard), path)


def load_task(target: str) -> Loaded[TaskCard]:
    """Load a task by name, folder or path, or make one of a file of prompts (.txt, .csv); `extends` is filled in.

    Raises CardError.
    """
    prompts = Path(target).expanduser()
    if prompts.suffix.lower() in PROMPT_FILES and prompts.is_file():
        return Loaded(_of_prompts(prompts), prompts)
    path = _card_file("tasks", target)
    return Loaded(yamlfile.parse(task_file(path), TaskCard), path)


def _of_prompts(path: Path) -> TaskCard:
    """Return the task that a file of whole prompts is: each stands for itself, and all weigh equally."""
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "prompts"
    return TaskCard(
        name=name[:80],
        version=1,
        title=f"prompts of {path.name}",
        templates=[Template(id="prompt", text="{subject}")],
        subjects=str(path.resolve()),
        whole_prompts=True,
        source=path.name,
        licence="unknown",
    )


def task_file(path: Path, extending: tuple[Path, ...] = ()) -> yamlfile.YamlFile:
    """Read a task file with every field that it takes from the tasks that it extends; its file names become absolute.

    extending: the files that extend this one, directly or not.
    """
    file = yamlfile.load(path)
    folder = path.resolve().parent
    if isinstance(file.data.get("subjects"), str):
        file.data["subjects"] = str(folder / file.data["subjects"])
    templates = file.data.get("templates")
    for template in templates if isinstance(templates, list) else ():  # the schema tells what is no list
        if isinstance(template, dict) and isinstance(template.get("subjects"), str):
            template["subjects"] = str(folder / template["subjects"])
    if isinstance(file.data.get("references"), dict):
        file.data["references"] = {k: str(folder / str(v)) for k, v in file.data["references"].items()}
    parent = file.data.pop("extends", None)
    if parent is not None:
        if path in extending or not isinstance(parent, str):
            raise CardError(f"{path}, line {file.line(('extends',))}, field extends: name one other task (no circles).")
        base = task_file(_card_file("tasks", parent), (*extending, path))
        file.data = {**base.data, **file.data}
    return file


def load_model(target: str) -> Loaded[ModelCard]:
    """Load a model card by name or path, or make one for `ADAPTER:TARGET` or a model folder. Raises CardError.

    `CARD:TARGET` is the card with another target, where its adapter has one: `bagel-served:http://HOST:PORT/v1`.
    """
    prefix, colon, rest = target.partition(":")
    adapters = registry.names("adapters")
    if colon and prefix in adapters:
        return Loaded(_bare_card(prefix, rest), None)
    if re.fullmatch(r".+\.py:\w+", target):
        return Loaded(_bare_card("callable", target), None)
    if target in adapters and registry.is_third_party("adapters", target):  # it may need nothing else
        return Loaded(ModelCard(name=target.replace("/", "."), title=f"adapter {target}", adapter=target), None)
    path = Path(target).expanduser()
    if target not in find("models") and path.is_dir():
        return Loaded(_bare_card(_adapter_of(path), target), None)
    if rest and prefix in find("models"):
        return _aimed(prefix, rest)
    card_path = _card_file("models", target)
    return Loaded(yamlfile.parse(yamlfile.load(card_path), ModelCard), card_path)


def _aimed(name: str, target: str) -> Loaded[ModelCard]:
    """Return a card with another target. Raises CardError where its adapter has none."""
    loaded = load_model(name)
    field = getattr(registry.resolve("adapters", loaded.card.adapter), "target", None)
    if field is None:
        raise CardError(f"{name} takes nothing behind its name: write --model {name}.")
    sampling = {**loaded.card.sampling, field: target}
    return Loaded(loaded.card.model_copy(update={"sampling": sampling}), loaded.path)


def _adapter_of(folder: Path) -> str:
    if (folder / "model_index.json").is_file():
        return "diffusers"
    try:
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        config = None
    except (OSError, ValueError) as err:
        raise CardError(f"{folder / 'config.json'} cannot be read ({err}): fix it.") from err
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind in ("janus", "emu3"):
        return str(kind)
    raise CardError(
        f"{folder} is no model folder that can be recognised (a diffusers pipeline has model_index.json, a Janus or "
        "Emu3 has config.json with that model_type): name the adapter, as in janus:PATH, or for a folder of images "
        "folder:PATH."
    )


def _bare_card(adapter: str, target: str) -> ModelCard:
    field = getattr(registry.resolve("adapters", adapter), "target", None)
    if not target:
        what = "path" if field is None else field
        raise CardError(f"{adapter}: needs a {what} behind the colon, as in {adapter}:{what.upper()}.")
    fields: dict[str, Any] = {"sampling": {field: target}}
    if field is None:
        path = Path(target).expanduser()
        if path.suffix.lower() in _CHECKPOINTS:
            raise CardError(_single_file(target))
        is_repo = not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", target)
        fields = {"weights": HubModel(repo=target) if is_repo else HubModel(path=str(path.resolve()))}
    words = Path(target).name.replace(".py:", ".")
    if registry.is_third_party("adapters", adapter):
        words = f"{adapter.rpartition('/')[2]}-{words}"  # "0.8" alone says nothing
    name = re.sub(r"[^a-z0-9._-]+", "-", words.lower()).strip("-._") or "images"
    return ModelCard(name=name[:80], title=f"{adapter} {target}", adapter=adapter, **fields)


@functools.cache
def reference_file(path: str, labels: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Read a reference CSV (`subject` and one column per label): subject -> shares in the order of `labels`.

    Shares must sum to 1 within 0.01 (published tables are rounded) and are then scaled to sum to 1. A file with other
    labels gives no shares at all: then the metric is null, with that reason. Raises CardError.
    """
    rows: dict[str, tuple[float, ...]] = {}
    for line, row in read_csv(Path(path), Columns(("subject",), labels, others="allow")):
        if not set(labels) <= set(row):
            return {}
        try:
            shares = [float(row[label]) for label in labels]
        except ValueError as err:
            raise CardError(f"{path}, line {line}: {err}; give shares as numbers.") from err
        if not all(0 <= s <= 1 for s in shares) or abs(sum(shares) - 1) > 0.01:
            raise CardError(f"{path}, line {line}: the shares of {row['subject']!r} must lie in [0, 1] and sum to 1.")
        rows[row["subject"]] = tuple(s / sum(shares) for s in shares)
    return rows
