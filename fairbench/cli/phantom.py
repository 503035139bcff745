"""`fairbench phantom build|check`: make the built-in model of known bias, or measure the one that is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fairbench.phantom.figures import Bar

app = typer.Typer(
    help="The phantom: a tiny Janus whose bias is known. Its mannequins depict nobody.",
    no_args_is_help=True,
    add_completion=False,
)

Out = Annotated[Path, typer.Option("--out", help="Folder to build in; a stopped build goes on there.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Another seed makes another phantom of the same table.")]
Images = Annotated[
    int, typer.Option("--images", min=100, help="Images a prompt for the realised truth, renders a group for the rest.")
]
Folder = Annotated[Path | None, typer.Option("--dir", help="A build's folder. [default: the shipped phantom]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@app.command()
def build(out: Out, seed: Seed = 0, images: Images = 5000, quiet: Quiet = False) -> None:
    """Train and measure everything from nothing: one to two hours on two cores. Ends with a report."""
    from fairbench.phantom.build import Builder, Size
    from fairbench.phantom.report import need_matplotlib, write

    need_matplotlib()  # not after an hour of training
    with _progress(quiet) as report:
        bars = Builder(out, seed, report, Size(realised=images, renders=images)).run()
    typer.echo(f"report: {write(out, bars)}")
    typer.echo(f"use it: fairbench run --model {out / 'phantom.yaml'} --labeller {out / 'labellers' / 'phantom.yaml'}")
    _conclude(bars, as_json=False)


@app.command()
def check(folder: Folder = None, seed: Seed = 1, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Measure the phantom again, in minutes. Exit code 1 where a figure falls short of its bar."""
    from fairbench import catalog
    from fairbench.phantom.check import check as measure

    place = folder or catalog.find("models")["phantom"].parent
    with _progress(quiet) as report:
        bars = measure(place, seed, report)
    _conclude(bars, as_json)


def _conclude(bars: list[Bar], as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps([bar.record() for bar in bars], indent=2))
    else:
        Console().print(_table(bars))
        short = sum(not bar.holds for bar in bars)
        typer.echo(f"{len(bars)} bars, {short} not met" if short else f"All {len(bars)} bars are met.")
    if not all(bar.holds for bar in bars):
        raise typer.Exit(1)


def _table(bars: list[Bar]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("figure", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("value", "s.e.", "must be", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for bar in bars:
        error = f"{bar.error:.4f}" if bar.error else ""
        granted = f" ({bar.slack:g} s.e.)" if bar.slack and bar.error else ""
        table.add_row(
            bar.name, f"{bar.value:.4f}", error, f"{bar.must} {bar.limit:g}{granted}", "yes" if bar.holds else "NO"
        )
    return table


def _progress(quiet: bool) -> Any:
    from rich.console import Console

    from fairbench.cli.progress import reporter, set_up_logging

    console = Console(stderr=True)
    set_up_logging(console, verbose=False, quiet=quiet)
    return _Stages(reporter(console, quiet))


class _Stages:
    """Turns reports of (stage, done, total) into one bar a stage, whatever the order and size of the steps."""

    def __init__(self, progress: Any) -> None:
        self._progress, self._stage, self._done = progress, "", 0

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._report

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._stage:
            self._progress.finish()
        self._stage = ""

    def _report(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or done < self._done:  # a second phase under the same name starts again from 1
            self._close()
            # What a resumed stage had done already is not done now: it would make its rate a lie.
            self._stage, self._done = stage, max(done - 1, 0)
            self._progress.start(stage, total - self._done, "steps")
        self._progress.advance(done - self._done)
        self._done = done
