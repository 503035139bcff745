"""`fairbench new`: a working plug-in with its test, to change."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fairbench.display.plain import echo

Kind = Annotated[str, typer.Argument(help="adapter | metric | method | labeller | scorer | task", show_default=False)]
Name = Annotated[str, typer.Argument(help="Its name, as in my-metric.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder to make NAME/ in.")]


def new(kind: Kind, name: Name, out: Out = Path()) -> None:
    """Write a working plug-in with its test, to change.

    What `fairbench run` then needs is printed.
    """
    from fairbench.scaffolding import example

    files = example.write(kind, name, out)
    for file in files:
        echo(f"wrote {shlex.quote(str(file))}")
    run, test = example.commands(kind, name, files[0].parent)
    echo(f"try it:   {run}\ntest it:  {test}")
