"""What `signatures.yaml` quotes stands in the public source, wherever that source is at hand.

FAIRBENCH_TEST_SOURCES names a folder with git clones (OWNER+NAME, or OWNER+NAME/repo) and unpacked wheels
(NAME-VERSION); a recipe whose sources are not there is skipped."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests.workers import signatures

LISTED = signatures.read()
FOLDERS = [Path(p) for p in os.environ.get("FAIRBENCH_TEST_SOURCES", "").split(os.pathsep) if p]


class NotAtHand(Exception):
    """No folder holds this wheel or repository."""


def source(quoted: signatures.Quoted, origin: str | None, file: str) -> str:
    """The text of `file` in the wheel `origin`, or in the repository at the commit. Raises NotAtHand."""
    repository, commit = quoted.repository, quoted.commit
    if origin is not None and "@" in origin:
        (repository, _, commit), origin = origin.partition("@"), None
    for folder in FOLDERS:
        if origin is not None:
            path = folder / origin.replace("==", "-") / file
            if path.is_file():
                return path.read_text(encoding="utf-8")
            continue
        clone = folder / "+".join(repository.split("/")[-2:])
        clone = clone / "repo" if (clone / "repo").is_dir() else clone
        if clone.is_dir():
            show = ["git", "-C", str(clone), "show", f"{commit}:{file}"]
            return subprocess.run(show, capture_output=True, text=True, check=True).stdout
    raise NotAtHand(origin or repository)


def defined(text: str, entry: signatures.Entry) -> ast.FunctionDef | ast.ClassDef:
    """The function or class whose `def` or `class` stands on the entry's line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.lineno == entry.line:
            return node
    raise AssertionError(f"{entry.name}: no def or class on line {entry.line} of {entry.file}")


def constructor(node: ast.ClassDef) -> ast.FunctionDef:
    """The class's __init__."""
    return next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")


def check(quoted: signatures.Quoted, entry: signatures.Entry) -> None:
    """Compare what one entry quotes with its source. Raises NotAtHand."""
    text = source(quoted, entry.source, entry.file)
    if entry.value is not None:
        assert entry.path[-1] in text.splitlines()[entry.line - 1], f"{entry.name}: not on line {entry.line}"
        return
    node = defined(text, entry)
    assert node.name in (entry.path[-1], "forward"), f"{entry.name}: {node.name} stands on line {entry.line}"
    assert isinstance(node, ast.ClassDef) is (entry.base is not None), entry.name
    if entry.signature is not None:
        function = constructor(node) if isinstance(node, ast.ClassDef) else node
        assert signatures.quoted(entry) == signatures.parameters(function), entry.name
    for keyword, where in entry.keywords.items():
        origin, _, place = where.rpartition("!")
        file, _, line = place.rpartition(":")
        there = source(quoted, None if origin == "repository" else origin or entry.source, file).splitlines()
        assert keyword in there[int(line) - 1], f"{entry.name}: {keyword} does not stand on line {line} of {file}"


@pytest.mark.parametrize("recipe", LISTED)
def test_every_quotation_stands_in_the_source(recipe: str) -> None:
    not_at_hand = set()
    for entry in LISTED[recipe].names:
        try:
            check(LISTED[recipe], entry)
        except NotAtHand as err:
            not_at_hand.add(str(err))
    if not_at_hand:
        pytest.skip(f"FAIRBENCH_TEST_SOURCES does not hold {', '.join(sorted(not_at_hand))}")
