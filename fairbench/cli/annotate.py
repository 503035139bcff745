"""`fairbench annotate`: people's labels of a random sample of a run's images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from fairbench.cli.options import AsJson, Quiet, StoreOfRun
from fairbench.display.plain import echo_json
from fairbench.errors import FairbenchError

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RUN...", help="Run folders; with --collect, the files that annotators returned."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the sample and what annotators get.")]
Collect = Annotated[
    Path | None,
    typer.Option("--collect", metavar="DIR", help="Collect answers to DIR. [files: all in DIR/returned]"),
]
PerPrompt = Annotated[int, typer.Option("--per-prompt", help="Images of each prompt of each run, 2 or more.")]
People = Annotated[int, typer.Option("--annotators", help="People who annotate, each all images.")]
Attributes = Annotated[
    str | None,
    typer.Option("--attributes", help="Names with commas. [default: those that the labeller crosses]"),
]
Stratify = Annotated[
    str | None,
    typer.Option("--stratify", metavar="ATTRIBUTE", help="Draw by strata of what the labeller read."),
]
Format = Annotated[str, typer.Option("--format", help="html, label-studio or csv.")]
Describe = Annotated[
    str, typer.Option("--describe", metavar="TEXT", help="Who the annotators are, in words; it is stored.")
]
Alone = Annotated[bool, typer.Option("--one-annotator", help="Accept the answers of one person alone.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the sample and of the order of pictures.")]


def annotate(
    paths: Paths = None,
    out: Out = None,
    collect: Collect = None,
    per_prompt: PerPrompt = 10,
    annotators: People = 3,
    attributes: Attributes = None,
    stratify: Stratify = None,
    format_: Format = "html",
    describe: Describe = "",
    one_annotator: Alone = False,
    seed: Seed = 0,
    store: StoreOfRun = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Have people label a sample of a run's images.

    It writes a page for each annotator that tells neither prompt nor model. --collect reads what they return. The
    labels are perceived presentation, never anyone's identity.
    """
    from fairbench import api
    from fairbench.cli.logs import start

    start(quiet)
    result: Any
    if collect is not None:
        result = api.collect(collect, *(paths or []), describe=describe, one_annotator=one_annotator)
    elif out is None:
        raise FairbenchError("Name a folder with --out, or one to collect with --collect.")
    else:
        result = api.annotate(
            *(paths or []),
            out=out,
            per_prompt=per_prompt,
            annotators=annotators,
            attributes=attributes or "",
            stratify=stratify,
            describe=describe,
            form=cast("Any", format_),
            one_annotator=one_annotator,
            seed=seed,
            store=store,
            progress=not quiet,
        )
    if as_json:
        echo_json(result.summary)
    else:
        result.show()
