"""Finds plug-ins by kind and name: built-in ones, those that this process registered, those of other packages.

To add a built-in, write its module and a line in plugins/builtin.py. A package adds one with an entry point in the
group `fairbench.<kind>`, such as `fairbench.metrics`; it is then called `distribution/name`, so it can never hide a
built-in one. Two entry points that claim one name are an error. A notebook, or a file of `--plugins`, calls `register`;
the name is then one that nothing else has. Listing names imports no plug-in.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from pydantic import BaseModel, ValidationError

from fairbench.errors import FairbenchError, PluginError, one_line
from fairbench.plugins import files
from fairbench.plugins.builtin import BUILTIN as BUILTIN
from fairbench.storage.renamed import RENAMED

KINDS: Final = tuple(BUILTIN)
REGISTRABLE: Final = (*KINDS, "tasks")
MAX_SUGGESTIONS: Final = 24
"""Names that an error lists where none is similar to the one asked for."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registered:
    """A plug-in that this process registered.

    file: the Python file that defines it; None: a notebook or a prompt does. source: what stands for its code in keys:
    the file's sha256, else a token that no other process and no other registration has.
    """

    plugin: Any
    file: Path | None
    source: str


_registered: dict[str, dict[str, Registered]] = {}
"""kind -> name -> what was registered."""
_environment: list[Path] = []
"""The files of FAIRBENCH_PLUGINS that were imported."""


@overload
def register(kind: str, name: str) -> Callable[[T], T]: ...
@overload
def register(kind: str, name: str, plugin: T) -> T: ...
def register(kind: str, name: str, plugin: Any = None) -> Any:
    """Put a plug-in into this process's registry, under a name that no other plug-in of its kind has; return it.

    A notebook cell that runs again replaces what it registered before. What is stored of adapters, detectors, crops,
    classifiers and scorers is keyed by name, `version` and the content of the file that defines them; of those that no
    file defines, by a key of this process alone.

    Args:
        kind: adapters, detectors, crops, classifiers, scorers, methods, metrics, or tasks (the path of a folder with
            task.yaml); fairbench/protocols/ says what each must offer.
        name: As users write it.
        plugin: Without it this is a decorator: `@fairbench.register("scorers", "brightness")` above a class.

    Returns:
        The plug-in.

    Raises:
        FairbenchError: For a name that is taken.
        PluginError: For a plug-in that lacks something.
    """
    if plugin is None:
        return lambda plugin: register(kind, name, plugin)
    from fairbench import contracts

    if kind not in REGISTRABLE:
        raise FairbenchError(f"There is no kind of plug-in {kind!r}{suggest(kind, REGISTRABLE)}.")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FairbenchError(
            f"{name!r} is no name for a plug-in: use a-z, 0-9, '.', '_' and '-', as in my-{kind[:-1]}."
        )
    if kind == "methods" and isinstance(plugin, type) and not hasattr(plugin, "version"):
        plugin.version = 1  # type: ignore[attr-defined]  # what a method says is in the ids of prompts already
    contracts.check(kind, title(kind, name), plugin)
    if kind == "metrics" and plugin.spec.name != name:
        raise PluginError(f"{title(kind, name)} calls itself {plugin.spec.name!r} in its spec: give both one name.")
    new = _with_source(plugin)
    old = _registered.get(kind, {}).get(name)
    if name in BUILTIN.get(kind, {}) or (old is not None and old.file != new.file):
        holder = "fairbench has one" if old is None else f"{old.file or 'this notebook'} registered one"
        raise FairbenchError(f"The name of the {kind[:-1]} {name!r} is taken ({holder}): choose another.")
    _registered.setdefault(kind, {})[name] = new
    return plugin


def _with_source(plugin: Any) -> Registered:
    importing = files.being_imported()
    if importing is not None:
        return Registered(plugin, *importing)
    file = getattr(sys.modules.get(getattr(plugin, "__module__", "")), "__file__", None)
    try:
        content = Path(file).read_bytes()  # type: ignore[arg-type]
    except (OSError, TypeError):
        return Registered(plugin, None, f"process {secrets.token_hex(16)}")
    return Registered(plugin, Path(str(file)).resolve(), hashlib.sha256(content).hexdigest())


def registration(name: str, plugin: Any) -> Registered | None:
    """Return how a plug-in (the class, or an instance of it) was registered under a name; None where it was not."""
    of_class = plugin if isinstance(plugin, type) else type(plugin)
    entries = (of_kind[name] for of_kind in _registered.values() if name in of_kind)
    return next((entry for entry in entries if entry.plugin is of_class), None)


def load_files(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Import plug-in files; one that was imported already, with the same content, is not run again.

    Raises FairbenchError for a file that is absent, broken, or registers nothing; then nothing of it is registered.
    """
    for path in paths:
        before = {kind: dict(entries) for kind, entries in _registered.items()}
        try:
            file = files.import_file(path)
            _forget_older(file)
            if not any(e.file == file.path for entries in _registered.values() for e in entries.values()):
                raise PluginError(f"The plug-in file {path} registers nothing: call fairbench.register in it.")
        except BaseException:
            _registered.clear()
            _registered.update(before)
            raise


def _registered_of(kind: str) -> Mapping[str, Registered]:
    """Return what this process registered of a kind, by name. The files of FAIRBENCH_PLUGINS are imported first."""
    if (named := files.in_environment()) != _environment and files.being_imported() is None:
        load_files(named)
        _environment[:] = named
    return _registered.get(kind, {})


def _forget_older(file: files.PythonFile) -> None:
    """Forget what an earlier content of a file registered, and this one does not."""
    for entries in _registered.values():
        for name in [n for n, e in entries.items() if e.file == file.path and e.source != file.sha256]:
            del entries[name]


@functools.cache
def _third_party(kind: str) -> dict[str, EntryPoint]:
    """Return `distribution/name` -> entry point of every installed plug-in of a kind."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"fairbench.{kind}"):
        name = f"{_distribution(point)}/{point.name}"
        if name in points and points[name].value != point.value:
            raise FairbenchError(
                f"Two installed plug-ins claim the {kind[:-1]} {name!r} ({points[name].value} and {point.value}): "
                "uninstall one of them."
            )
        points[name] = point
    return points


def _distribution(point: EntryPoint) -> str:
    if point.dist is None:
        raise FairbenchError(f"The entry point {point.name!r} ({point.value}) belongs to no installed distribution.")
    return str(point.dist.name).lower().replace("_", "-")


def names(kind: str) -> list[str]:
    """Return all names of a kind: built-in, registered, then installed ones. Imports no plug-in."""
    return [*BUILTIN.get(kind, {}), *_registered_of(kind), *sorted(_third_party(kind))]


def resolve(kind: str, name: str) -> Any:
    """Import and return a plug-in. Raises FairbenchError with the nearest name where there is none.

    Raises PluginError where a third-party plug-in cannot be imported or lacks what its kind must offer (contracts.py).
    """
    target = BUILTIN.get(kind, {}).get(name)
    if target is not None:
        module, attribute = target.split(":")
        return getattr(importlib.import_module(module), attribute)
    if name in _registered_of(kind):
        return _registered[kind][name].plugin
    point = _third_party(kind).get(name)
    if point is None and kind == "metrics" and name in RENAMED:
        raise FairbenchError(f"The estimate {name!r} is called {RENAMED[name]!r} now; every run has it.")
    if point is None:
        raise FairbenchError(f"There is no {kind[:-1]} {name!r}{suggest(name, names(kind))}.")
    return _loaded(kind, name, point.value)


def _loaded(kind: str, name: str, value: str) -> Any:
    from fairbench import contracts

    try:
        plugin = EntryPoint(name, value, "").load()
    except (Exception, SystemExit) as err:  # importing runs the package's own code
        raise PluginError(f"{title(kind, name)} ({value}) cannot be imported: {one_line(err)}.") from err
    contracts.check(kind, f"{title(kind, name)} ({value})", plugin)
    return plugin


def is_third_party(kind: str, name: str) -> bool:
    """Return whether a plug-in of this name is none of fairbench's own."""
    return name not in BUILTIN.get(kind, {})


def title(kind: str, name: str) -> str:
    """Return the beginning of a sentence about a plug-in, as in "The metric 'rd'"."""
    return f"The {kind[:-1]} {name!r}"


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: ' (did you mean X?)', or a list of the names that exist."""
    names = list(candidates)
    if RENAMED.get(name) in names:
        return f" (it is called {RENAMED[name]!r} now)"
    similar = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if similar:
        return f" (did you mean {similar[0]!r}?)"
    more = f" and {len(names) - MAX_SUGGESTIONS} more" if len(names) > MAX_SUGGESTIONS else ""
    return f" (known: {', '.join(names[:MAX_SUGGESTIONS])}{more})" if names else ""


def parse_params(plugin: Any, params: Mapping[str, Any]) -> BaseModel:
    """Validate a plug-in's parameters with its own `Params`. Raises pydantic's ValidationError, or PluginError."""
    try:
        return params_of(plugin).model_validate(dict(params))
    except ValidationError:
        raise
    except Exception as err:  # a third-party validator may raise anything
        raise PluginError(
            f"The parameters of {plugin.__module__}:{plugin.__qualname__} cannot be checked: {err!r}."
        ) from err


def params_of(plugin: Any) -> type[BaseModel]:
    """Return a plug-in's `Params`; a plug-in without them takes no parameters."""
    from fairbench.protocols import Params

    model: type[BaseModel] = getattr(plugin, "Params", Params)
    return model
