"""`fairbench prompts`: the prompts of a task, for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import NamedTask, Plugins
from fairbench.display.plain import echo

Format = Annotated[str, typer.Option("--format", help="csv (a task again: --task FILE.csv), jsonl, or txt.")]
Out = Annotated[Path | None, typer.Option("--out", help="File to write. [default: standard output]")]


def prompts(task: NamedTask, format_: Format = "csv", out: Out = None, plugins: Plugins = None) -> None:
    """Print the prompts of a task, for other tools.

    One a line, in the order in which a run draws them.
    """
    from fairbench.cards import catalog
    from fairbench.listing.prompts import as_text
    from fairbench.runs.prompts import expand
    from fairbench.storage import atomic

    expanded = expand(catalog.load_task(task).card)
    text = as_text(expanded, format_)
    if out is None:
        echo(text.removesuffix("\n"))
    else:
        atomic.write_text(out, text)
        echo(f"{len(expanded)} prompts in {out}")
