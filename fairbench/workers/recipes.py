"""Recipes: Python files that load a model's official code and draw with it, each with the file of its environment."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairbench import registry
from fairbench.cards import catalog
from fairbench.cards.cards import NAME
from fairbench.errors import CardError
from fairbench.storage import paths
from fairbench.workers.fairbench_worker import OPTIONAL

_SPECIAL: Final = re.compile(r"#\s*(python|then|note):\s*(.+)")


@dataclass(frozen=True)
class Recipe:
    """A recipe's file. sha256: of its content. tree: its syntax."""

    path: Path
    sha256: str
    tree: ast.Module

    @property
    def offers(self) -> tuple[str, ...]:
        """The optional methods that some class of the file defines, as far as its text tells."""
        classes = [node for node in self.tree.body if isinstance(node, ast.ClassDef)]
        names = {item.name for node in classes for item in node.body if isinstance(item, ast.FunctionDef)}
        return tuple(name for name in OPTIONAL if name in names)

    @property
    def environment(self) -> Environment | None:
        """What its environment is made of; None where no such file lies beside it."""
        path = self.path.with_suffix(".txt")
        return _environment(path) if path.is_file() else None


@dataclass(frozen=True)
class Environment:
    """A requirements file, with what pip cannot express in comments of its own.

    `# python: 3.10` names the interpreter. `# then: COMMAND` is run after the packages are installed; in it {python},
    {pip}, {repository} and {site_packages} stand for what they say. `# note: TEXT` is shown to who makes it.
    """

    path: Path
    sha256: str
    python: str | None
    then: tuple[str, ...]
    notes: tuple[str, ...]


def shipped() -> dict[str, Path]:
    """Return name -> file of the recipes in the catalog's folders `models/workers`."""
    files = [path for root in catalog.roots() for path in sorted(root.glob("models/workers/*.py"))]
    return {path.stem: path for path in reversed(files)}


def load(named: str, base_dir: Path | None) -> Recipe:
    """Read a recipe by name or path. Raises CardError where there is none, or it is no Python."""
    return read(_file(named, base_dir))


def _file(named: str, base_dir: Path | None) -> Path:
    folder = base_dir or Path.cwd()
    beside, known = folder / "workers" / f"{named}.py", shipped()
    if re.fullmatch(NAME, named) and beside.is_file():
        return beside.resolve()
    if named in known:
        return known[named]
    path = folder / paths.expand(named)
    if path.suffix == ".py" and path.is_file():
        return path.resolve()
    hint = f" (there is no file {path})" if path.suffix == ".py" else registry.suggest(named, known)
    raise CardError(f"There is no recipe {named!r}{hint}: name one of models/workers, or a .py file.")


def read(path: Path) -> Recipe:
    """Read the recipe in a file. Raises CardError."""
    try:
        content = path.read_bytes()
        tree = ast.parse(content, str(path), feature_version=(3, 8))
    except OSError as err:
        raise CardError(f"{path} cannot be read ({err.strerror}): fix it, or name another recipe.") from err
    except (SyntaxError, ValueError) as err:
        line = getattr(err, "lineno", None) or 1
        raise CardError(
            f"{path}, line {line}: a recipe is written in Python 3.8 ({getattr(err, 'msg', err)})."
        ) from err
    return Recipe(path, hashlib.sha256(content).hexdigest(), tree)


def _environment(path: Path) -> Environment:
    text = path.read_text(encoding="utf-8")
    special: dict[str, list[str]] = {"python": [], "then": [], "note": []}
    for line in text.splitlines():
        if match := _SPECIAL.fullmatch(line.strip()):
            special[match[1]].append(match[2].strip())
    return Environment(
        path,
        hashlib.sha256(text.encode()).hexdigest(),
        next(iter(special["python"]), None),
        tuple(special["then"]),
        tuple(special["note"]),
    )
