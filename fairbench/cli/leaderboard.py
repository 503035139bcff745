"""`fairbench leaderboard add|show|verify`: rows with their evidence, standings, and whether the numbers hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import AsJson
from fairbench.display.plain import echo, echo_json

app = typer.Typer(
    help="Add, show and verify rows of a leaderboard. Anybody can compute them again from the evidence beside them.",
    no_args_is_help=True,
    add_completion=False,
)

DEFAULT = Path("leaderboards/occupations-v1.csv")
Run = Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)]
Board = Annotated[Path | None, typer.Option("--csv", help="The leaderboard. [default: leaderboards/TASK-vVERSION.csv]")]
Evidence = Annotated[bool, typer.Option("--evidence/--no-evidence", help="Copy the run's evidence beside the CSV.")]
Shown = Annotated[Path, typer.Argument(help="The leaderboard.")]
Verified = Annotated[Path, typer.Argument(help="The leaderboard.", show_default=False)]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="Folder with the evidence of run R in R/. [default: evidence/ by CSV]")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 1 also where a row has no evidence.")]


@app.command()
def add(run: Run, board: Board = None, evidence: Evidence = True) -> None:
    """Add a finished run's row with its evidence, or replace it.

    The evidence is what the row can be computed from.
    """
    from rich.console import Console

    from fairbench.cli.logs import set_up_logging
    from fairbench.leaderboard.evidence import open_run
    from fairbench.leaderboard.row import EVIDENCE, add_run

    set_up_logging(Console(stderr=True), silent=True)  # damage is one sentence, not a warning and one
    found = open_run(run)
    task = found.record.task
    path = board or Path("leaderboards") / f"{task.name}-v{task.version}.csv"
    add_run(path, found, evidence=evidence)
    where = path.parent / EVIDENCE / found.run_id
    echo(f"{found.name}: row of run {found.run_id} in {path}" + (f", evidence in {where}" if evidence else ""))


@app.command()
def show(board: Shown = DEFAULT, as_json: AsJson = False) -> None:
    """Show ranks and values with intervals.

    Published numbers stand apart and are never ranked.
    """
    from rich.console import Console

    from fairbench.leaderboard import board as leaderboard_board
    from fairbench.leaderboard import terminal

    rows = leaderboard_board.read(board)
    if as_json:
        echo_json(terminal.standings(rows))
    else:
        terminal.show(rows, Console())


@app.command()
def verify(board: Verified, labels: Labels = None, strict: Strict = False, as_json: AsJson = False) -> None:
    """Compute every row again from its evidence.

    Names each cell that differs; exit code 1 then.
    """
    from rich.console import Console

    from fairbench.cli.logs import set_up_logging
    from fairbench.leaderboard import terminal
    from fairbench.leaderboard.verify import verify as check

    set_up_logging(Console(stderr=True), silent=True)  # damage is the row's verdict
    checks = check(board, labels)
    if as_json:
        echo_json(terminal.verification(checks, board))
    else:
        terminal.show_verification(checks, Console())
    bad = {"differs", "damaged", *(["unverifiable"] if strict else [])}
    if any(c.verdict in bad for c in checks):
        raise typer.Exit(1)
