"""The command line. A command is imported when it is run or its own help is asked for, so that `--help` is instant."""

from __future__ import annotations

import importlib
import io
import signal
import sys
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from fairbench import threads
from fairbench.errors import FairbenchError, Interrupted

COMMANDS: Final = {
    "run": ("run:run", "Generate images, label the faces, measure bias."),
    "synthesize": ("synthesize:synthesize", "Make a balanced training set of confirmed images."),
    "refine": ("refine:refine", "Refine an instruction for rewriting prompts on labelled images."),
    "annotate": ("annotate:annotate", "Have people label a sample of a run's images."),
    "calibrate": ("calibrate:calibrate", "Measure a labeller's errors on labelled images."),
    "audit": ("audit:audit", "Look for the component that carries the bias."),
    "compare": ("compare:compare", "Compare runs, or two labellers of the same images."),
    "axes": ("axes:app", "Axes that nobody declared: propose, freeze, read."),
    "report": ("report:report", "Write a page of runs: verdict, charts, pictures."),
    "export": ("export:export", "Write a run for papers, READMEs and other tools."),
    "plan": ("plan:plan", "Say how many images and prompts a comparison needs."),
    "list": ("listing:list_", "List what there is, third-party plug-ins included."),
    "show": ("listing:show", "Show a finished run, a card, a plug-in, or columns."),
    "prompts": ("prompts:prompts", "Print the prompts of a task, for other tools."),
    "glossary": ("listing:glossary", "Explain the terms of this project and its field."),
    "new": ("new:new", "Write a working plug-in with its test, to change."),
    "check": ("check:check", "Find every problem of cards and recipes, with its line."),
    "validate": ("validate:validate", "Check the statistics by simulation from known truths."),
    "setup": ("setup:setup", "Print or run the commands that a model needs first."),
    "doctor": ("doctor:doctor", "Check what is installed and what could run here."),
    "train": ("train:app", "Fine-tune a model on a balanced set."),
    "sweep": ("sweep:sweep", "Train in several ways; compare gains and prices."),
    "phantom": ("phantom:app", "The phantom: a tiny Janus whose bias is known."),
    "leaderboard": ("leaderboard:app", "Add, show, upgrade and verify rows of a leaderboard."),
    "store": ("store:app", "See, check and tidy up a store of images and labels."),
}
"""Command -> MODULE:NAME in fairbench.cli of its function or Typer, and its summary, which begins its own help."""

HELP: Final = ["-h", "--help"]


class Commands(TyperGroup):
    """The group of all commands, each imported when it is run or its own help is shown."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands' names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name, None where there is none."""
        return command(cmd_name) if cmd_name in COMMANDS else None

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return the commands and options that a word may become, without importing any command."""
        commands: dict[str, Any] = {n: TyperCommand(n, help=summary) for n, (_, summary) in COMMANDS.items()}
        group = TyperGroup(commands=commands, params=self.params)
        return group.shell_complete(typer.Context(group, help_option_names=HELP), incomplete)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, all off by default: typer imports pydantic to find out what None means for an option."""
        params = list(super().get_params(ctx))
        for option in params:
            option.default = option.default or False
        return params

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands and their summaries without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def command(name: str) -> Any:
    """Import a command and return it as typer builds it."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(importlib.import_module(f"fairbench.cli.{module}"), attribute)
    wrapper = typer.Typer(rich_markup_mode=None)
    if isinstance(target, typer.Typer):
        wrapper.add_typer(target, name=name)
    else:
        wrapper.command(name)(target)
    return typer.main.get_group(wrapper).commands[name]


app = typer.Typer(
    name="fairbench",
    cls=Commands,
    help="How demographically fair is an image-generating model? Labels are perceived presentation, never identity.",
    no_args_is_help=True,
    context_settings={"help_option_names": HELP},  # sub-commands inherit them
    rich_markup_mode=None,  # rich help pages take twice as long to import as everything else
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from fairbench import __version__
        from fairbench.display.plain import echo

        echo(f"fairbench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Measure the demographic fairness of image-generating models."""


def main() -> None:
    """Run the command line: 0 success, 2 something the user can fix (one sentence), 130 interrupted."""
    signal.signal(signal.SIGINT, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of few characters gets question marks, and all numbers
    try:
        threads.prepare()
        app(prog_name="fairbench")  # also where it is called as python -m fairbench
    except Interrupted:
        from fairbench.display.plain import echo

        echo("Interrupted. Finished work is kept: run the same command again to go on.", err=True)
        sys.exit(130)
    except FairbenchError as err:
        _fail(str(err))
    except (OSError, UnicodeError, RecursionError) as err:  # names and files that no system or library accepts
        if isinstance(err, BrokenPipeError):
            sys.stderr.close()
            sys.exit(1)
        import logging

        logging.getLogger("fairbench").debug("the error", exc_info=True)
        _fail(f"{type(err).__name__}: {err} (fix that file or name; -v shows where it happened).")
    except RuntimeError as err:
        if "home directory" not in str(err):  # what pathlib says of ~nobody
            raise
        _fail(f"{err}: write the path out.")


def _fail(sentence: str) -> None:
    from fairbench.display.plain import echo

    echo(f"Error: {sentence}", err=True)
    sys.exit(FairbenchError.exit_code)


def _stop(*_: object) -> NoReturn:
    raise Interrupted  # said in main: a handler that prints may cut into a line that is being written
