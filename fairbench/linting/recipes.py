"""Finds what is wrong with a recipe without running it: the contract of docs/workers.md, the syntax of Python 3.8."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairbench.cards.yamlfile import Problem
from fairbench.errors import CardError
from fairbench.workers import recipes

_LOAD: Final = ("repository", "weights", "settings", "device")
_SIGNATURES: Final = {
    "generate": ("prompt", "seed", "width", "height"),
    "generate_batch": ("prompts", "seeds", "width", "height"),
    "tokens": ("prompt", "seed", "width", "height", "plain"),
    "encode": ("images",),
    "decode": ("tokens",),
    "log_probs": ("texts", "tokens"),
    "embed": ("images",),
    "answer": ("question", "image", "seed"),
}
"""Method -> its parameters after `self`; `answer` may have more."""
_NEWER: Final = {
    **dict.fromkeys(("removeprefix", "removesuffix", "is_relative_to", "with_stem", "randbytes"), "3.9"),
    **dict.fromkeys(("pairwise", "bit_count"), "3.10"),
    **dict.fromkeys(("file_digest", "StrEnum", "TaskGroup", "ExceptionGroup"), "3.11"),
    **dict.fromkeys(("batched", "override"), "3.12"),
}
"""Names of the standard library, rare elsewhere, and the Python that brought them."""
_NEWER_OF: Final = {("functools", "cache"): "3.9", ("ast", "unparse"): "3.9", ("math", "lcm"): "3.9"}
_GENERIC: Final = ("list", "dict", "tuple", "set", "frozenset", "type")
_NOT_8: Final = "recipes are written in Python 3.8"


def problems(path: Path) -> list[Problem]:
    """Return all that is wrong with a recipe and the file of its environment."""
    try:
        tree = recipes.read(path).tree
    except CardError as err:
        return [Problem(path, 1, "", str(err).rstrip("."))]
    found = [*_contract(path, tree), *_imports(path, tree), *_defaults(path, tree), *_syntax(path, tree)]
    return sorted(found, key=lambda problem: problem.line) + list(_environment(path))


def _contract(path: Path, tree: ast.Module) -> Iterator[Problem]:
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    load = functions.get("load")
    if load is None:
        yield Problem(path, 1, "load", f"it is missing: define load({', '.join(_LOAD)})")
    elif _parameters(load) != _LOAD:
        yield Problem(path, load.lineno, "load", f"it takes ({', '.join(_parameters(load))}), not ({', '.join(_LOAD)})")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = [item for node in classes for item in node.body if isinstance(item, ast.FunctionDef)]
    if not any(method.name == "generate" for method in methods):
        yield Problem(path, 1, "generate", "no class has this method: write one whose object `load` returns")
    for method in methods:
        wanted = _SIGNATURES.get(method.name)
        taken = _parameters(method)[1:]
        if wanted is not None and taken[: len(wanted)] != wanted:
            message = f"it takes ({', '.join(taken)}), not ({', '.join(wanted)})"
            yield Problem(path, method.lineno, method.name, message)


def _parameters(function: ast.FunctionDef) -> tuple[str, ...]:
    return tuple(arg.arg for arg in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs))


def _imports(path: Path, tree: ast.Module) -> Iterator[Problem]:
    """Find imports at module level of what is neither in the standard library nor the worker's own."""
    for node in _at_module_level(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        for name in names:
            if name.partition(".")[0] not in {*sys.stdlib_module_names, "fairbench_worker"}:
                message = "only the standard library may be imported here: import it in `load`"
                yield Problem(path, node.lineno, f"import {name}", message)


def _at_module_level(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from _at_module_level(child)


def _defaults(path: Path, tree: ast.Module) -> Iterator[Problem]:
    """Find settings that are read with a default: the card's number would be missed in silence."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if name == "settings" and node.func.attr in ("get", "setdefault", "pop"):
            message = f"`settings.{node.func.attr}` may hide that the card lacks a number: write settings[...]"
            yield Problem(path, node.lineno, "settings", message)


def _syntax(path: Path, tree: ast.Module) -> Iterator[Problem]:
    """Find what a parser that is told to read Python 3.8 lets through."""
    postponed = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        if isinstance(node, ast.Attribute) and node.attr in _NEWER:
            yield Problem(path, line, node.attr, f"{_NOT_8}: this is there since {_NEWER[node.attr]}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            since = _NEWER_OF.get((node.value.id, node.attr))
            if since is not None:
                yield Problem(path, line, f"{node.value.id}.{node.attr}", f"{_NOT_8}: this is there since {since}")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                since = _NEWER_OF.get((node.module or "", alias.name)) or _NEWER.get(alias.name)
                if since is not None and (node.module or "").partition(".")[0] in sys.stdlib_module_names:
                    yield Problem(path, line, alias.name, f"{_NOT_8}: this is there since {since}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
            if any(keyword.arg == "strict" for keyword in node.keywords):
                yield Problem(path, line, "zip", f"{_NOT_8}: `strict` is there since 3.10")
        elif not postponed and isinstance(node, ast.FunctionDef | ast.AnnAssign):
            yield from _annotations(path, node)


def _annotations(path: Path, node: ast.FunctionDef | ast.AnnAssign) -> Iterator[Problem]:
    """Find annotations that Python 3.8 cannot evaluate."""
    if isinstance(node, ast.AnnAssign):
        annotations: list[ast.expr | None] = [node.annotation]
    else:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        annotations = [node.returns, *(arg.annotation for arg in every if arg is not None)]
    for part in (part for annotation in annotations if annotation is not None for part in ast.walk(annotation)):
        union = isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr)
        generic = isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) and part.value.id in _GENERIC
        if union or generic:
            message = f"{_NOT_8}, which does not know this annotation: add `from __future__ import annotations`"
            yield Problem(path, node.lineno, ast.unparse(part), message)


def _environment(path: Path) -> Iterator[Problem]:
    file = path.with_suffix(".txt")
    environment = recipes.read(path).environment
    if environment is None:
        yield Problem(path, 1, "", f"its environment is missing: write {file.name} beside it")
    elif environment.python is None:
        yield Problem(file, 1, "", "it does not say which Python it is for: begin with a line `# python: 3.10`")
    for line in () if environment is None else environment.then:
        first = line.split()[0]
        if any(sign in line for sign in ("&&", "|", ";", "*", "$")) and first not in ("bash", "sh"):
            yield Problem(file, 1, "then", f"`{line}` is run without a shell: write bash -c '...'")
