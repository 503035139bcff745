"""Card files: YAML with line numbers, duplicate keys refused, and pydantic's complaints turned into sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fairbench.errors import CardError

Loc = tuple[str | int, ...]
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
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except OSError as err:
        raise CardError(f"{path} cannot be read ({err.strerror}).") from err
    except UnicodeDecodeError as err:
        raise CardError(f"{path} is not UTF-8 text: save it as UTF-8.") from err
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = str(getattr(err, "problem", "") or err).splitlines()[0]
        raise CardError(f"{path}{line} is not valid YAML: {what}.") from err
    if not isinstance(data, dict):
        raise CardError(f"{path}, line 1: a card is a list of `field: value` lines, and this is not.")
    lines: dict[Loc, int] = {}
    _walk(root, (), lines, path, 0)
    return YamlFile(path, data, lines)


def _walk(node: Any, loc: Loc, lines: dict[Loc, int], path: Path, depth: int) -> None:
    if depth > 50:
        raise CardError(f"{path} nests (or refers to itself) more than 50 levels deep.")
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise CardError(f"{path}, line {key.start_mark.line + 1}, field {name}: stands twice; remove one.")
            seen.add(name)
            lines[(*loc, name)] = key.start_mark.line + 1
            _walk(value, (*loc, name), lines, path, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*loc, index), lines, path, depth + 1)


def problems(file: YamlFile, error: ValidationError, prefix: Loc = ()) -> list[Problem]:
    """Turn pydantic's errors into problems with file, field and line."""
    found = []
    for item in error.errors():
        loc = tuple(p for p in (*prefix, *item["loc"]) if not (isinstance(p, str) and p.startswith("function-")))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "there is no such field; remove it or mend its name"
        elif item["type"] == "missing":
            message = "this field is required"
        elif not isinstance(item.get("input"), dict | list):
            message = f"{message} (it is {item.get('input')!r})"
        name = ".".join(str(p) for p in loc)
        found.append(Problem(file.path, file.line(loc), name, message))
    return found


def params_error(path: Path | None, name: str, error: ValidationError, prefix: Loc) -> CardError:
    """Return the error for a plug-in's parameters that stand at `prefix` in a card; `name` where it has no file."""
    return card_error(problems(YamlFile(Path(name), {}) if path is None else load(path), error, prefix))


def parse(file: YamlFile, model: type[M]) -> M:
    """Validate a whole file. Raises CardError naming its first problem, and how many more there are."""
    try:
        return model.model_validate(file.data)
    except ValidationError as err:
        raise card_error(problems(file, err)) from err


def card_error(found: list[Problem]) -> CardError:
    """Return one sentence for a list of problems."""
    more = f" ({len(found) - 1} more: run fairbench check {found[0].path})" if len(found) > 1 else ""
    return CardError(f"{found[0]}{more}.")
