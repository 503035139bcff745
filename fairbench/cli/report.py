"""`fairbench report`: a page of a run, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import Quiet
from fairbench.display.plain import echo

Runs = Annotated[list[Path], typer.Argument(help="Folders of finished runs, shown side by side, and of audits.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of the pages. [default: RUN itself; of several, or with an audit: runs/report]"),
]
WithImages = Annotated[
    bool,
    typer.Option(
        "--with-images",
        help="Include pictures of folder:, which may show real people, and of tasks with a content note.",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open the first page in the browser.")]


def report(
    runs: Runs, out: Out = None, with_images: WithImages = False, open_: Open = False, quiet: Quiet = False
) -> None:
    """Write a page of runs: verdict, charts, pictures.

    And its tables, a paragraph for a paper, and the evidence; of an audit of the same model, its findings and figures.
    The pages work from disk and from any web server, without a network.
    """
    from fairbench import api
    from fairbench.cli.logs import start

    start(quiet)
    page = api.report(*runs, out=out, with_images=with_images, progress=not quiet)
    echo(f"report: {page}")
    if open_:
        typer.launch(page.resolve().as_uri())
