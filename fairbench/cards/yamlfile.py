"""Card files: YAML with line numbers, duplicate keys refused, and pydantic's complaints turned into sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fairbench.cards.textfile import read_text
from fairbench.cards.texts import hidden_character
from fairbench.errors import CardError

Loc = tuple[str | int, ...]
MAX_BYTES: Final = 256 << 10
"""Of a card's file."""
MAX_VALUES: Final = 50_000
"""Values of a card, those that references (`*name`, `<<`) repeat counted each time."""
MAX_DEPTH: Final = 50
MAX_KEY: Final = 500
MAX_SHOWN: Final = 100
"""Characters of a wrong value that a message shows."""
_KINDS: Final = frozenset({"map", "seq", "str", "int", "float", "bool", "null"})
M = TypeVar("M", bound=BaseModel)


@dataclass
class YamlFile:
    """A parsed file: its data, and the line of every field."""

    path: Path
    data: dict[str, Any]
    lines: dict[Loc, int] = field(default_factory=dict)

    def line(self, loc: Loc) -> int:
        """Return the line of a field, or of the nearest field above it."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, 1)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a card."""

    path: Path
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f", field {self.field}" if self.field else ""
        return f"{self.path}, line {self.line}{where}: {self.message}"


def load(path: Path) -> YamlFile:
    """Read one card file. Raises CardError."""
    text = read_text(path, MAX_BYTES)
    lines: dict[Loc, int] = {}
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _Walk(path, lines).visit(root, (), 0)
        data = None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = (str(getattr(err, "problem", "") or err).splitlines() or [type(err).__name__])[0]
        raise CardError(f"{path}{line} is not valid YAML: {problem[:200]}.") from err
    if not isinstance(data, dict):
        raise CardError(f"{path}, line 1: a card is a list of `field: value` lines, and this is not.")
    return YamlFile(path, data, lines)


class _Loader(yaml.SafeLoader):
    """YAML's safe types, but 1e-3 is a number (YAML 1.1 wants a point in it), and dates are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass
class _Walk:
    """Visits every value, also through references: counts the values and records their lines."""

    path: Path
    lines: dict[Loc, int]
    count: int = 0

    def visit(self, node: Any, loc: Loc, depth: int) -> None:
        self.count += 1
        if self.count > MAX_VALUES:
            raise CardError(f"{self.path} holds more than {MAX_VALUES:,} values, references filled in: shorten it.")
        if depth > MAX_DEPTH:
            raise CardError(f"{self.path} nests (or refers to itself) more than {MAX_DEPTH} levels deep.")
        self.lines.setdefault(loc, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self._fields(node, loc, depth)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.visit(value, (*loc, index), depth + 1)
        self._check(node, ".".join(map(str, loc)))

    def _fields(self, node: yaml.MappingNode, loc: Loc, depth: int) -> None:
        names: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or len(key.value) > MAX_KEY or hidden_character(key.value):
                raise CardError(
                    f"{self.path}, line {line}: a field's name is a text of at most {MAX_KEY} characters that can be "
                    "seen."
                )
            if key.value in names:
                raise CardError(f"{self.path}, line {line}, field {key.value}: stands twice; remove one.")
            names.add(key.value)
            self.lines[(*loc, key.value)] = line
            self.visit(value, (*loc, key.value), depth + 1)

    def _check(self, node: Any, name: str) -> None:
        """Refuse what is no text, number, truth value, list or mapping, and numbers that YAML reads differently."""
        where = f"{self.path}, line {node.start_mark.line + 1}" + (f", field {name}" if name else "")
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in _KINDS:
            raise CardError(f"{where}: {node.tag} is no text, number, list or mapping; remove the tag.")
        if kind in {"int", "float"} and re.search(r":|^[-+]?0[0-7_]+$", node.value):
            raise CardError(
                f"{where}: YAML reads {node.value[:80]} as a number to another base; put quotes around a text, or "
                "write the number as it is."
            )


def problems(file: YamlFile, error: ValidationError, prefix: Loc = ()) -> list[Problem]:
    """Turn pydantic's errors into problems with file, field and line."""
    all_problems = []
    for item in error.errors():
        loc = tuple(p for p in (*prefix, *item["loc"]) if not (isinstance(p, str) and p.startswith("function-")))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "there is no such field; remove it or fix its name"
        elif item["type"] == "missing":
            message = "this field is required"
        elif not isinstance(item.get("input"), dict | list):
            message = f"{message} (it is {_short(item.get('input'))})"
        name = ".".join(str(p) for p in loc)
        all_problems.append(Problem(file.path, file.line(loc), name, message))
    return all_problems


def _short(value: Any) -> str:
    """Return a value as it may stand in a sentence; YAML's yes, no, on and off are truth values without quotes."""
    shown = repr(value)
    shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
    return f"{shown}; in quotes it is a text" if isinstance(value, bool) else shown


def params_error(path: Path | None, name: str, error: ValidationError, prefix: Loc) -> CardError:
    """Return the error for a plug-in's parameters that stand at `prefix` in a card; `name` where it has no file."""
    return card_error(problems(YamlFile(Path(name), {}) if path is None else load(path), error, prefix))


def parse(file: YamlFile, model: type[M]) -> M:
    """Validate a whole file. Raises CardError naming its first problem, and how many more there are."""
    try:
        return model.model_validate(file.data)
    except ValidationError as err:
        raise card_error(problems(file, err)) from err


def card_error(problems: list[Problem]) -> CardError:
    """Return one sentence for a list of problems."""
    more = f" ({len(problems) - 1} more: run fairbench check {problems[0].path})" if len(problems) > 1 else ""
    return CardError(f"{problems[0]}{more}.")
