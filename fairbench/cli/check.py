"""`fairbench check`: lint cards and recipes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import AsJson, Plugins
from fairbench.display.plain import echo, echo_json

Paths = Annotated[list[Path], typer.Argument(help="Card files, recipes, or folders of them.")]


def check(paths: Paths, as_json: AsJson = False, plugins: Plugins = None) -> None:
    """Find every problem of cards and recipes, with its line.

    Exit code 2 where there is one.
    """
    from fairbench.linting import cards

    files = [file for path in paths for file in cards.cards_in(path)]
    # A recipe's problems are those of its card, too.
    problems = list(dict.fromkeys(problem for file in files for problem in cards.problems(file)))
    if as_json:
        records = [asdict(problem) | {"path": str(problem.path)} for problem in problems]
        echo_json({"cards": len(files), "problems": records})
    else:
        for problem in problems:
            echo(str(problem))
        echo(f"{len(files)} cards, {len(problems)} problems")
    if problems:
        raise typer.Exit(2)
