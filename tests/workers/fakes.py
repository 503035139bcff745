"""Fakes of a model's official code, made from `signatures.yaml`: they take the quoted arguments and no others, record
every call, and have no name that is not listed."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.workers.signatures import Entry, Quoted, as_signature, quoted


class Misuse(AssertionError):
    """The recipe calls something otherwise than its public source allows."""


class Namespace(SimpleNamespace):
    """Values by attribute and by key, as configurations and outputs of models have them."""

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]


class Batch(dict[str, Any]):
    """What a processor of transformers returns: a mapping whose values are attributes too."""

    __getattr__ = dict.__getitem__

    def to(self, device: Any) -> Batch:
        """The same, since nothing here leaves the CPU."""
        return self


def generators() -> tuple[bytes, bytes]:
    """The states of torch's and numpy's global generators."""
    return torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()  # type: ignore[union-attr, index]


@dataclass
class Call:
    """One recorded call and the state of the global generators when it was made."""

    entry: Entry
    this: Any
    arguments: dict[str, Any]
    torch_state: bytes
    numpy_state: bytes


@dataclass
class Stage:
    """What the fakes of one recipe share: the calls so far and what expressions may read."""

    known: dict[str, Any]
    instead: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    classes: dict[str, type] = field(default_factory=dict)

    def evaluate(self, expression: str, **more: Any) -> Any:
        """The value of an expression of signatures.yaml."""
        names = {"torch": torch, "np": np, "Image": Image, "Namespace": Namespace, "Batch": Batch}
        names |= {"fake": self.instance, "kind": self.classes.__getitem__}
        return eval(expression, {**names, **self.known, **more})

    def instance(self, name: str) -> Any:
        """An instance of a listed class, made without its constructor."""
        made = object.__new__(self.classes[name])
        if isinstance(made, torch.nn.Module):
            torch.nn.Module.__init__(made)
        return made

    def called(self, entry: Entry, self_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Check one call against the quoted signature, record it, and give what the entry returns."""
        try:
            bound = as_signature(entry).bind(*args, **kwargs)
        except TypeError as err:
            raise Misuse(f"{entry.name}{entry.signature}: {err}") from err
        arguments = dict(bound.arguments)
        for name, kind, _ in quoted(entry):
            if kind == "VAR_KEYWORD":
                further = arguments.pop(name, {})
                unlisted = sorted(set(further) - set(entry.keywords))
                if unlisted:
                    raise Misuse(f"{entry.name}: {unlisted[0]!r} is not among the keywords that its source reads")
                arguments.update(further)
        for name, reason in entry.traps.items():
            if name not in arguments:
                raise Misuse(f"{entry.name}: the default of {name!r} is a trap, so give it: {reason}")
        self.calls.append(Call(entry, self_, arguments, *generators()))
        returns = self.instead.get(entry.name, entry.returns)
        if returns is None:
            return None
        return self.evaluate(returns, arguments=SimpleNamespace(**arguments), this=self_)


def _constructor(stage: Stage, entry: Entry, base: type) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if entry.signature is None:
            raise Misuse(f"{entry.name} is not listed as something that is made by calling it")
        if base is torch.nn.Module:
            torch.nn.Module.__init__(self)
        stage.called(entry, self, args, kwargs)

    return __init__


def _function(stage: Stage, entry: Entry) -> Any:
    first = (quoted(entry) or [("", "", None)])[0][0]
    if first == "cls":
        return classmethod(lambda cls, *args, **kwargs: stage.called(entry, cls, args, kwargs))
    if first == "self":
        method = lambda self, *args, **kwargs: stage.called(entry, self, args, kwargs)  # noqa: E731
        method.__signature__ = as_signature(entry)  # type: ignore[attr-defined]
        return method
    inside_class = len(entry.path) > 1
    plain = lambda *args, **kwargs: stage.called(entry, None, args, kwargs)  # noqa: E731
    return staticmethod(plain) if inside_class else plain


class _Value:
    """An attribute of instances: evaluated when first read, and from then on their own, so that it may be changed."""

    def __init__(self, stage: Stage, entry: Entry) -> None:
        self.stage, self.entry = stage, entry

    def __get__(self, this: Any, owner: type) -> Any:
        value = self.stage.evaluate(self.entry.value or "", this=this)
        if this is not None:
            vars(this)[self.entry.path[-1]] = value
        return value


def _value(stage: Stage, entry: Entry) -> Any:
    return _Value(stage, entry) if len(entry.path) > 1 else stage.evaluate(entry.value or "")


def _put(owner: Any, entry: Entry, stage: Stage) -> None:
    """Give the module or class `owner` what the entry describes."""
    name = entry.path[-1]
    if entry.base is not None:
        base = torch.nn.Module if entry.base == "torch.nn.Module" else object
        made = type(name, (base,), {"__init__": _constructor(stage, entry, base)})
        stage.classes[entry.name] = made
        setattr(owner, name, made)
    else:
        setattr(owner, name, _function(stage, entry) if entry.signature is not None else _value(stage, entry))


def _module(name: str, patch: pytest.MonkeyPatch, made: dict[str, types.ModuleType]) -> types.ModuleType:
    """The fake module `name` and its parents, in sys.modules for the time of the test."""
    if name not in made:
        module = types.ModuleType(name)
        module.__path__ = []
        made[name] = module
        patch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(_module(parent, patch, made), last, module)
    return made[name]


def install(listed: Quoted, stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """Put fakes of all listed names into sys.modules until `patch` is undone."""
    made: dict[str, types.ModuleType] = {}
    for entry in sorted(listed.names, key=lambda e: (len(e.path), e.base is None)):
        owner: Any = _module(entry.module, patch, made)
        for i, attribute in enumerate(entry.path[:-1]):
            owner = vars(owner).get(attribute)
            assert owner is not None, f"{entry.name}: list {'.'.join(entry.path[: i + 1])} (with `base:`) as well"
        _put(owner, entry, stage)
