"""`fairbench check`: lint cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import Plugins
from fairbench.display.plain import echo


def check(
    paths: Annotated[list[Path], typer.Argument(help="Card files, or folders of cards.")], plugins: Plugins = None
) -> None:
    """Find every problem of cards, with file, field and line.

    Exit code 2 where there is one.
    """
    from fairbench.linting import cards

    files = [file for path in paths for file in cards.cards_in(path)]
    problems = [problem for file in files for problem in cards.problems(file)]
    for problem in problems:
        echo(str(problem))
    echo(f"{len(files)} cards, {len(problems)} problems")
    if problems:
        raise typer.Exit(2)
