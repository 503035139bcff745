"""`fairbench list` and `fairbench show`."""

from __future__ import annotations

from typing import Annotated

import typer

from fairbench.cli.options import Plugins
from fairbench.listing.kinds import KINDS, SHOWN

ListedKind = Annotated[str | None, typer.Argument(help=" | ".join(KINDS), show_default=False)]
ShownKind = Annotated[str, typer.Argument(help=" | ".join(SHOWN))]
Name = Annotated[
    str, typer.Argument(help="Its name, as `fairbench list` prints it, or a card file.", show_default=False)
]
First = Annotated[int | None, typer.Option("--first", min=1, help="Of a task: only so many of its prompts.")]


def list_(kind: ListedKind = None, plugins: Plugins = None) -> None:
    """List what there is, third-party plug-ins included."""
    from fairbench.listing import terminal

    terminal.list_kind(kind)


def show(kind: ShownKind, name: Name = "", first: First = None, plugins: Plugins = None) -> None:
    """Show one card, metric or plug-in, or columns of tables.

    A task is shown with its prompts, a labeller with what its classes mean, a metric with formula and range; `show
    columns` explains metrics.csv and prompts.csv.
    """
    from fairbench.listing import terminal

    terminal.show(kind, name, first)
