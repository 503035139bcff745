"""What `fairbench run` and `fairbench show` print of a finished run."""

from __future__ import annotations

from rich.console import Console

from fairbench.display.plain import echo_json
from fairbench.runs import terminal
from fairbench.runs.result import Run


def show_run(run: Run, *, full: bool, as_json: bool) -> None:
    """Print a finished run. Raises FairbenchError where its folder is damaged."""
    if as_json:
        echo_json(terminal.summary(run))
    else:
        terminal.show(run, Console(), full=full)
