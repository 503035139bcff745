"""`fairbench leaderboard add|show|site|upgrade|verify`: rows with their evidence, standings, whether they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import BOARD_NAMES, AsJson, Plugins
from fairbench.display.plain import echo, echo_json

app = typer.Typer(
    help="Add, show, upgrade and verify rows of a leaderboard.\n\n"
    "Anybody can compute them again from the evidence beside them.",
    no_args_is_help=True,
    add_completion=False,
)

DEFAULT = Path("leaderboards/occupations-v1.csv")
Run = Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)]
Board = Annotated[
    Path | None, typer.Option(*BOARD_NAMES, help="The leaderboard's CSV. [default: leaderboards/TASK-vVERSION.csv]")
]
Evidence = Annotated[bool, typer.Option("--evidence/--no-evidence", help="Copy the run's evidence beside the CSV.")]
Shown = Annotated[Path, typer.Argument(help="The leaderboard.")]
Verified = Annotated[Path, typer.Argument(help="The leaderboard.", show_default=False)]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="Folder with the evidence of run R in R/. [default: evidence/ by CSV]")
]
Boards = Annotated[list[Path], typer.Argument(metavar="CSV...", help="Leaderboards.", show_default=False)]
SiteFolder = Annotated[Path, typer.Option("--out", help="Folder of the pages.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 1 also where a row has no evidence.")]


@app.command()
def add(
    run: Run, board: Board = None, evidence: Evidence = True, as_json: AsJson = False, plugins: Plugins = None
) -> None:
    """Add a finished run's row with its evidence, or replace it.

    The evidence is what the row can be computed from.
    """
    from fairbench.cli.logs import start
    from fairbench.leaderboard.evidence import open_run
    from fairbench.leaderboard.row import EVIDENCE, add_run

    start(silent=True)  # the one error names the damage
    finished = open_run(run)
    task = finished.record.task
    path = board or Path("leaderboards") / f"{task.name}-v{task.version}.csv"
    add_run(path, finished, evidence=evidence)
    copied = str(path.parent / EVIDENCE / finished.run_id) if evidence else None
    if as_json:
        echo_json({"run_id": finished.run_id, "leaderboard": str(path), "evidence": copied})
    else:
        where = f", evidence in {copied}" if copied else ""
        echo(f"{finished.name}: row of run {finished.run_id} in {path}{where}")


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
def site(boards: Boards, out: SiteFolder = Path("runs/leaderboards"), plugins: Plugins = None) -> None:
    """Write the standings as pages, with verdicts and checks.

    They work from disk and from any web server, without a network. Every row is verified first.
    """
    from fairbench.cli.logs import start
    from fairbench.leaderboard.site import pages

    start(silent=True)  # each row's page says what is damaged
    echo(f"leaderboards: {pages.write(boards, out)}")


@app.command()
def upgrade(board: Verified, as_json: AsJson = False, plugins: Plugins = None) -> None:
    """Compute every row again and write it with the columns of today.

    From the evidence beside the CSV; a row without evidence stays as it is.
    """
    from fairbench.cli.logs import start
    from fairbench.leaderboard.row import upgrade as recompute

    start(silent=True)  # the one error names the damage
    computed = recompute(board)
    if as_json:
        echo_json({"leaderboard": str(board), "computed": computed})
    else:
        echo(f"{board}: {sum(computed.values())} of {len(computed)} measured rows were computed again")


@app.command()
def verify(
    board: Verified, labels: Labels = None, strict: Strict = False, as_json: AsJson = False, plugins: Plugins = None
) -> None:
    """Compute every row again from its evidence.

    Names each cell that differs; the exit code is 1 then.
    """
    from rich.console import Console

    from fairbench.cli.logs import start
    from fairbench.leaderboard import terminal
    from fairbench.leaderboard.verify import verify as check

    start(silent=True)  # the row's verdict names the damage
    checks = check(board, labels)
    if as_json:
        echo_json(terminal.verification(checks, board))
    else:
        terminal.show_verification(checks, Console())
    failing = {"differs", "damaged", *(["unverifiable"] if strict else [])}
    if any(c.verdict in failing for c in checks):
        raise typer.Exit(1)
