"""`signatures.yaml`: what the recipes in models/workers call, quoted from the public source of each model.

One key per recipe, in alphabetical order::

    show-o:
      repository: https://github.com/showlab/Show-o     # as on the card
      commit: 45a5a2de...                               # as on the card
      names:
        models:Showo:                                   # module:name, as the recipe reaches it
          file: models/modeling_showo.py                # where it is defined, and the line of its `def` or `class`
          line: 23
          base: torch.nn.Module                         # a class: its base; torch's own methods work (`.to`)
        models:Showo.t2i_generate:
          file: models/modeling_showo.py
          line: 104
          signature: (self, input_ids=None, ..., **kwargs)   # of a class: of its __init__; without it, not to be called
          keywords: {llm_model_path: models/modeling_showo.py:32}   # what may go into **kwargs, and where it is read
          traps: {guidance_scale: 0 turns guidance off}      # must be given, because the default misleads
          expects: {guidance_scale: guidance}                # argument: expression that it must equal
          draws: generator                                   # where this call's randomness comes from
          returns: torch.zeros(1, 1024)                      # expression; without it, None
        models:Showo.config:                                 # not callable: its value
          file: models/modeling_showo.py
          line: 40
          value: Namespace(mask_token_id=58497)

`source: transformers==4.41.1` says that `file` stands in that wheel, OWNER/NAME@COMMIT in that repository, instead.
`inspected: true` beside a signature: it is not called, the recipe looks at its parameters.
A keyword that is read in another of these has that, or `repository`, and a `!` before its file.
`device: cuda` beside `commit` is for official code that takes no other; `files` are files that the recipe reads with
torch (`WEIGHT/path`, with {SETTING}: expression), and are written before it is loaded. `refuses` (a file or a name:
another expression) makes the model answer in text instead.
`expects`: a list instead of one mapping is for the first, the second ... call of one image. `load: true` beside it: the
calls are made by `load`, where there is no prompt and no seed. Arguments may be dotted (`config.model.size`).
`draws`: `global` (the child has seeded random, numpy and torch, and the call must find them so) or the name of the
argument that holds the seed or a torch.Generator; `seed_bits: 32` where the function takes no larger number. Not
needed where an expression of `expects` uses `seed` (noise that the recipe draws itself).
Expressions see: torch, numpy as `np`, Image, Namespace, Batch, `kind(NAME)` (a class of this list), `fake(NAME)` (an
instance of it), `arguments` (of this call), `this` (what is called), and, by name, the card's settings, `settings`,
weights (as `weights.NAME`), `repository`, `device`, `width`, `height`, `prompt` and `seed`.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("signatures.yaml")


@dataclass(frozen=True)
class Entry:
    """One name that a recipe uses. `name` is module:attribute.path; the other fields are those of the file."""

    name: str
    file: str
    line: int
    source: str | None = None
    base: str | None = None
    signature: str | None = None
    inspected: bool = False
    keywords: dict[str, str] = field(default_factory=dict)
    traps: dict[str, str] = field(default_factory=dict)
    expects: dict[str, str] | list[dict[str, str]] = field(default_factory=dict)
    load: bool = False
    draws: str | None = None
    seed_bits: int = 63
    returns: str | None = None
    value: str | None = None

    @property
    def module(self) -> str:
        """The module that the recipe imports."""
        return self.name.partition(":")[0]

    @property
    def path(self) -> list[str]:
        """The attributes from the module to the name."""
        return self.name.partition(":")[2].split(".")

    def expected(self, call: int) -> dict[str, str]:
        """What the `call`-th call (from 0) for one image must be given."""
        if isinstance(self.expects, dict):
            return self.expects
        return self.expects[call] if call < len(self.expects) else {}

    def expressions(self) -> list[str]:
        """All expressions of `expects`."""
        every = self.expects if isinstance(self.expects, list) else [self.expects]
        return [text for one in every for text in one.values()]


@dataclass(frozen=True)
class Quoted:
    """What stands in the file about one recipe."""

    repository: str
    commit: str
    device: str
    files: dict[str, str]
    refuses: dict[str, str]
    names: list[Entry]


@cache
def read() -> dict[str, Quoted]:
    """The whole file, by recipe."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {
        recipe: Quoted(
            one["repository"],
            one["commit"],
            one.get("device", "cpu"),
            one.get("files", {}),
            one.get("refuses", {}),
            [Entry(name, **rest) for name, rest in one["names"].items()],
        )
        for recipe, one in content.items()
    }


def parameters(function: ast.FunctionDef) -> list[tuple[str, str, str | None]]:
    """Name, kind and default (as text) of each parameter, without annotations."""
    args = function.args
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + [ast.unparse(d) for d in args.defaults]
    result = [(a.arg, "POSITIONAL_OR_KEYWORD", d) for a, d in zip(positional, defaults, strict=True)]
    if args.vararg:
        result.append((args.vararg.arg, "VAR_POSITIONAL", None))
    result += [
        (a.arg, "KEYWORD_ONLY", ast.unparse(d) if d else None)
        for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    ]
    if args.kwarg:
        result.append((args.kwarg.arg, "VAR_KEYWORD", None))
    return result


def quoted(entry: Entry) -> list[tuple[str, str, str | None]]:
    """The parameters as the entry quotes them."""
    function = ast.parse(f"def f{entry.signature}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    return parameters(function)


def as_signature(entry: Entry) -> inspect.Signature:
    """The quoted signature without `self` or `cls`; defaults are their text."""
    own = [p for i, p in enumerate(quoted(entry)) if i or p[0] not in ("self", "cls")]
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect._ParameterKind[kind], default=inspect.Parameter.empty if d is None else d)
            for name, kind, d in own
        ]
    )
