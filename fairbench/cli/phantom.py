"""`fairbench phantom build|check`: make the built-in model of known bias, or measure the one that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairbench.cli.options import AsJson, Quiet
from fairbench.display.plain import echo, echo_json

if TYPE_CHECKING:
    from fairbench.display.progress import Progress
    from fairbench.display.tables import Table
    from fairbench.phantom.figures import Bar

app = typer.Typer(
    help="The phantom: a tiny Janus whose bias is known. Its mannequins depict nobody.",
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


@app.command()
def build(out: Out, seed: Seed = 0, images: Images = 5000, quiet: Quiet = False) -> None:
    """Train and measure the phantom from nothing.

    One to two hours on two cores. Ends with a report.
    """
    from fairbench.display import figure
    from fairbench.phantom.making.build import Builder, Size
    from fairbench.phantom.making.report import FIGURE, write

    figure.require(*FIGURE)  # not after an hour of training
    bars = Builder(out, seed, _progress(quiet), Size(realised=images, renders=images)).run()
    echo(f"report: {write(out, bars)}")
    echo(f"use it: fairbench run --model {out / 'phantom.yaml'} --labeller {out / 'labellers' / 'phantom.yaml'}")
    _conclude(bars, as_json=False)


@app.command()
def check(folder: Folder = None, seed: Seed = 1, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Measure the phantom again, in minutes. Exit code 1 where a figure falls short of its bar."""
    from fairbench.cards import catalog
    from fairbench.phantom.check import check as measure

    place = folder or catalog.find("models")["phantom"].parent
    bars = measure(place, seed, _progress(quiet))
    _conclude(bars, as_json)


@app.command()
def images(
    out: Annotated[Path, typer.Option("--out", help="Folder for the images and their manifest.csv.")],
    per_group: Annotated[int, typer.Option("--per-group", min=1, help="Images of each gender x race cell.")] = 100,
    decoded: Annotated[bool, typer.Option("--decoded", help="Encoded and decoded by the phantom.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other mannequins.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Write labelled mannequins and their manifest.

    For `calibrate --images` and `audit --probe-images`.
    """
    from fairbench.phantom.export import export

    echo(str(export(out, per_group, seed, decoded=decoded, progress=_progress(quiet))))


def _conclude(bars: list[Bar], as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        echo_json([bar.record() for bar in bars])
    else:
        _table(bars).show(Console())
        short = sum(not bar.holds for bar in bars)
        echo(f"{len(bars)} bars, {short} not met" if short else f"All {len(bars)} bars are met.")
    if not all(bar.holds for bar in bars):
        raise typer.Exit(1)


def _table(bars: list[Bar]) -> Table:
    from fairbench.display.numbers import number
    from fairbench.display.tables import Column, Table, numbers

    table = Table([Column("figure", wraps=True), *numbers("value", "s.e.", "must be", "met")])
    for bar in bars:
        error = number(bar.error, 4) if bar.error else ""
        granted = f" ({bar.slack:g} s.e.)" if bar.slack and bar.error else ""
        table.add(
            bar.name, number(bar.value, 4), error, f"{bar.must} {bar.limit:g}{granted}", "yes" if bar.holds else "NO"
        )
    return table


def _progress(quiet: bool) -> Progress:
    from rich.console import Console

    from fairbench.cli.logs import set_up_logging
    from fairbench.display.progress import reporter

    console = Console(stderr=True)
    set_up_logging(console)
    return reporter(console, quiet)
