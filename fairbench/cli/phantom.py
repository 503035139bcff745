"""`fairbench phantom build|check`: make the built-in model of known bias, or measure the one that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairbench.cli.options import AsJson, Quiet
from fairbench.display.plain import echo, echo_json

if TYPE_CHECKING:
    from fairbench.phantom.figures import Bar

app = typer.Typer(
    help="The phantom: a tiny Janus whose bias is known.\n\nIts mannequins depict nobody.",
    no_args_is_help=True,
    add_completion=False,
)

Out = Annotated[Path, typer.Option("--out", help="Folder to build in; a stopped build goes on there.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Another seed makes another phantom of the same table.")]
Images = Annotated[
    int,
    typer.Option("--images", min=100, help="Images per prompt for the realised truth, renders per group for the rest."),
]
Folder = Annotated[Path | None, typer.Option("--dir", help="A build's folder. [default: the shipped phantom]")]
ImagesOut = Annotated[Path, typer.Option("--out", help="Folder for the images and their manifest.csv.")]
PerGroup = Annotated[int, typer.Option("--per-group", min=1, help="Images of each gender x race cell.")]
Decoded = Annotated[bool, typer.Option("--decoded", help="Encode and decode them with the phantom's image tokenizer.")]
ImagesSeed = Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other mannequins.")]


@app.command()
def build(out: Out, seed: Seed = 0, images: Images = 5000, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Train and measure the phantom from nothing.

    One to two hours on two cores. Ends with a report.
    """
    from fairbench.cli.logs import start
    from fairbench.display import figure
    from fairbench.phantom.making.build import Builder, Size
    from fairbench.phantom.making.report import FIGURE, write

    figure.require(*FIGURE)  # not after an hour of training
    bars = Builder(out, seed, start(quiet), Size(realised=images, renders=images)).run()
    labeller = out / "labellers" / "phantom.yaml"
    echo(f"report: {write(out, bars)}", err=as_json)
    echo(f"use it: fairbench run --model {out / 'phantom.yaml'} --labeller {labeller}", err=as_json)
    _conclude(bars, as_json)


@app.command()
def check(folder: Folder = None, seed: Seed = 1, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Measure the phantom again, in minutes.

    Exit code 1 where a figure falls short of its bar.
    """
    from fairbench.cards import catalog
    from fairbench.cli.logs import start
    from fairbench.phantom.check import check as measure

    folder = folder or catalog.find("models")["phantom"].parent
    _conclude(measure(folder, seed, start(quiet)), as_json)


@app.command()
def images(
    out: ImagesOut, per_group: PerGroup = 100, decoded: Decoded = False, seed: ImagesSeed = 0, quiet: Quiet = False
) -> None:
    """Write labelled mannequins and their manifest.

    For `calibrate --images` and `audit --probe-images`.
    """
    from fairbench.cli.logs import start
    from fairbench.phantom.export import export

    echo(str(export(out, per_group, seed, decoded=decoded, progress=start(quiet))))


def _conclude(bars: list[Bar], as_json: bool) -> None:
    from rich.console import Console

    from fairbench.phantom import terminal

    if as_json:
        echo_json([bar.record() for bar in bars])
    else:
        terminal.show(bars, Console())
    if not all(bar.holds for bar in bars):
        raise typer.Exit(1)
