"""`fairbench validate`: simulations that show whether estimates, intervals and tests do what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import AsJson, Quiet
from fairbench.display.plain import echo, echo_json

Quick = Annotated[bool, typer.Option("--quick", help="Fewer cells and replicates: two minutes, with wider errors.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the tables; a stopped validation goes on there.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Number of processes.")]


def validate(
    quick: Quick = False, out: Out = Path("validation"), jobs: Jobs = 2, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Check the statistics by simulation from known truths.

    Bias, coverage, false positives and power. Exit code 1 where a bar is not met.
    """
    from rich.console import Console

    from fairbench.cli.logs import start
    from fairbench.storage import folders, kinds
    from fairbench.validation import document, runner

    folders.check(out, kinds.VALIDATION)
    results = runner.run(runner.cells_of(quick), out, jobs, start(quiet))
    command = "fairbench validate --quick" if quick else "fairbench validate"
    document.write(results, command, out)
    if as_json:
        echo_json(document.record(results, command))
    else:
        document.show(results, Console())
        echo(f"tables: {out / 'validation.md'}")
    if document.shortfalls(results):
        raise typer.Exit(1)
