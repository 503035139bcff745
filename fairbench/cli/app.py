"""The command line. Commands import what they need when they run, so that `--help` is instant."""

from __future__ import annotations

import sys

import typer

from fairbench.cli import check, doctor, listing, run
from fairbench.errors import FairbenchError

app = typer.Typer(
    name="fairbench",
    help="How demographically fair is an image-generating model? Labels are perceived presentation, never identity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("list")(listing.list_)
app.command("show")(listing.show)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)


def _version(value: bool) -> None:
    if value:
        from fairbench import __version__

        typer.echo(f"fairbench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Measure the demographic fairness of image-generating models."""


def main() -> None:
    """Run the command line: 0 success, 2 something the user can mend (one sentence), 130 interrupted."""
    try:
        app()
    except FairbenchError as err:
        typer.echo(f"Error: {err}", err=True)
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was finished is kept: run the same command again to go on.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
