"""`fairbench export`: a finished run for papers, READMEs and other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import Quiet, RunFolder
from fairbench.display.plain import echo

To = Annotated[
    str,
    typer.Option(
        "--to", metavar="FORMAT", help="latex, markdown, images, dossier, hf-dataset, hub-results or hub:OWNER/NAME."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write. [default: RUN-FORMAT, beside the run]")]
WithImages = Annotated[
    bool,
    typer.Option("--with-images", help="Include pictures, also those of folder:, which may show real people."),
]


def export(run: RunFolder, to: To, out: Out = None, with_images: WithImages = False, quiet: Quiet = False) -> None:
    """Write a run for papers, READMEs and other tools.

    latex: tables, methods paragraph and BibTeX. markdown: the same for a README. images: the images as files, with a
    manifest. dossier: a document for audits. hf-dataset: a folder for Hugging Face's datasets, with a Croissant
    description. hub:OWNER/NAME: the same, pushed to a private repository of the hub. hub-results: results for a model's
    card there.
    """
    from fairbench import api
    from fairbench.cli.logs import start

    start(quiet)
    echo(f"{to}: {api.export(run, to=to, out=out, with_images=with_images, progress=not quiet)}")
