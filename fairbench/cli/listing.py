"""`fairbench list`, `fairbench show` and `fairbench glossary`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import AsJson, Plugins
from fairbench.errors import FairbenchError
from fairbench.listing.kinds import KINDS, SHOWN

ListedKind = Annotated[
    str | None, typer.Argument(autocompletion=complete.listed, help=" | ".join(KINDS), show_default=False)
]
ShownKind = Annotated[
    str,
    typer.Argument(
        metavar="RUN|KIND", autocompletion=complete.shown, help=f"Folder of a finished run, or {' | '.join(SHOWN)}."
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        autocompletion=complete.of_shown,
        help="Of a KIND: its name, as `fairbench list` prints it, or a card file.",
        show_default=False,
    ),
]
First = Annotated[int | None, typer.Option("--first", min=1, help="Of a task: only so many of its prompts.")]
ShownFull = Annotated[bool, typer.Option("--full", help="Of a run: every estimate and metric.")]
ShownPrompts = Annotated[bool, typer.Option("--prompts", help="Of a run: its worst prompts; with --full, all of them.")]
Term = Annotated[
    str | None,
    typer.Argument(autocompletion=complete.terms, help="The term to explain. [default: all]", show_default=False),
]


def list_(kind: ListedKind = None, as_json: AsJson = False, plugins: Plugins = None) -> None:
    """List what there is, third-party plug-ins included."""
    from fairbench.listing import terminal

    terminal.list_kind(kind, as_json=as_json)


def show(
    what: ShownKind,
    name: Name = "",
    first: First = None,
    full: ShownFull = False,
    prompts: ShownPrompts = False,
    as_json: AsJson = False,
    plugins: Plugins = None,
) -> None:
    """Show a finished run, a card, a plug-in, or columns.

    A run is printed as `fairbench run` printed it. A model is shown with what gets it running, a task with its prompts,
    a labeller with what its classes mean, a metric with formula and range; `show columns` explains metrics.csv and
    prompts.csv.
    """
    if what not in SHOWN and (os.sep in what or Path(what).exists()):
        from fairbench import api
        from fairbench.cli.results import show_prompts, show_run

        if name:
            raise FairbenchError(f"{what} is read as the folder of a run: leave {name!r} out.")
        run = api.load(what)
        if prompts:
            show_prompts(run, full=full, as_json=as_json)
        else:
            show_run(run, full=full, as_json=as_json)
        return
    from fairbench.listing import terminal

    start = None
    if what == "model" and name:
        from fairbench.doctor.setup import first_steps

        start = first_steps(name)
    terminal.show(what, name, first, start=start, as_json=as_json)


def glossary(term: Term = None, as_json: AsJson = False) -> None:
    """Explain the terms of this project and its field."""
    from fairbench.listing import terminal

    terminal.glossary(term, as_json=as_json)
