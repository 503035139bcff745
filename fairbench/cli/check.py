"""`fairbench check`: lint cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.display.plain import echo


def check(paths: Annotated[list[Path], typer.Argument(help="Card files, or folders of cards.")]) -> None:
    """Find every problem of cards, with file, field and line. Exit code 2 where there is one."""
    from fairbench.linting import cards

    files = [f for path in paths for f in cards.cards_in(path)]
    found = [problem for file in files for problem in cards.problems(file)]
    for problem in found:
        echo(str(problem))
    echo(f"{len(files)} cards, {len(found)} problems")
    if found:
        raise typer.Exit(2)
