"""What `fairbench run` and `fairbench show` print of a finished run."""

from __future__ import annotations

from rich.console import Console

from fairbench.display.plain import echo_json
from fairbench.runs import evidence, single_prompts, terminal, terminal_prompts
from fairbench.runs.result import Run


def show_run(run: Run, *, full: bool, as_json: bool) -> None:
    """Print a finished run. Raises FairbenchError where its folder is damaged."""
    if as_json:
        echo_json(terminal.summary(run))
    else:
        terminal.show(run, Console(), full=full)


def show_prompts(run: Run, *, full: bool, as_json: bool) -> None:
    """Print the single prompts of a finished run. full: all prompts. Raises FairbenchError as `show_run` does."""
    attributes = single_prompts.of_run(evidence.read(run.folder))
    if as_json:
        echo_json({each.attribute: each.rows for each in attributes})
    else:
        terminal_prompts.show(attributes, Console(), run.read_by, full=full)
