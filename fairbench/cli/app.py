"""The command line. Commands import what they need when they run, so that `--help` is instant."""

from __future__ import annotations

import logging
import signal
import sys

import typer

from fairbench.cli import (
    audit,
    calibrate,
    check,
    compare,
    doctor,
    leaderboard,
    listing,
    phantom,
    plan,
    run,
    synthesize,
    train,
    validate,
)
from fairbench.display.plain import echo
from fairbench.errors import FairbenchError

app = typer.Typer(
    name="fairbench",
    help="How demographically fair is an image-generating model? Labels are perceived presentation, never identity.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich help pages take twice as long to import as everything else
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("synthesize")(synthesize.synthesize)
app.command("calibrate")(calibrate.calibrate)
app.command("audit")(audit.audit)
app.command("compare")(compare.compare)
app.command("plan")(plan.plan)
app.command("list")(listing.list_)
app.command("show")(listing.show)
app.command("check")(check.check)
app.command("validate")(validate.validate)
app.command("doctor")(doctor.doctor)
app.add_typer(train.app, name="train")
app.add_typer(phantom.app, name="phantom")
app.add_typer(leaderboard.app, name="leaderboard")


def _version(value: bool) -> None:
    if value:
        from fairbench import __version__

        echo(f"fairbench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Measure the demographic fairness of image-generating models."""


def main() -> None:
    """Run the command line: 0 success, 2 something the user can mend (one sentence), 130 interrupted."""
    signal.signal(signal.SIGINT, _interrupted)
    try:
        app()
    except FairbenchError as err:
        _fail(str(err))
    except (OSError, UnicodeError, RecursionError) as err:  # names and files that no system or library accepts
        if isinstance(err, BrokenPipeError):
            sys.stderr.close()
            sys.exit(1)
        logging.getLogger("fairbench").debug("the error", exc_info=True)
        _fail(f"{type(err).__name__}: {err} (mend that file or name; -v shows where it was met).")
    except RuntimeError as err:
        if "home directory" not in str(err):  # what pathlib says of ~nobody
            raise
        _fail(f"{err}: write the path out.")


def _fail(sentence: str) -> None:
    echo(f"Error: {sentence}", err=True)
    sys.exit(FairbenchError.exit_code)


def _interrupted(*_: object) -> None:
    echo("Interrupted. What was finished is kept: run the same command again to go on.", err=True)
    sys.exit(130)
