"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fairbench.cli import complete
from fairbench.errors import FairbenchError

DTYPES: Final = ("float32", "bfloat16", "float16")
BOARD_NAMES: Final = ("--leaderboard", "--csv")
"""What the option for a leaderboard's CSV is called, in every command that adds to one."""


def _check_dtype(dtype: str | None) -> str | None:
    """Raise FairbenchError for a dtype in which no model is run."""
    if dtype is not None and dtype not in DTYPES:
        raise FairbenchError(f"--dtype {dtype}: name float32, bfloat16 or float16.")
    return dtype


def _load_plugins(ctx: typer.Context, paths: list[Path] | None) -> None:
    """Import plug-in files before any other option is looked at: those options may name what the files register."""
    if paths and not ctx.resilient_parsing:
        from fairbench import registry
        from fairbench.cli.logs import start

        start()  # for the notice of a file that prints
        registry.load_files(paths)


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins",
        metavar="FILE.py",
        help="Python file that registers plug-ins; may be given again. FAIRBENCH_PLUGINS names others.",
        callback=_load_plugins,
        expose_value=False,
        is_eager=True,
        show_default=False,
    ),
]


def model_option(words: str) -> Any:
    """Return the option --model, with the command's own words for it."""
    return typer.Option("--model", "-m", autocompletion=complete.one("models"), help=words)


def task_option(words: str) -> Any:
    """Return the option --task, with the command's own words for it."""
    return typer.Option("--task", "-t", autocompletion=complete.one("tasks"), help=words)


def store_option(words: str) -> Any:
    """Return the option --store, with the command's own words for it."""
    return typer.Option("--store", envvar="FAIRBENCH_STORE", metavar="<path|URL>", help=words)


Model = Annotated[str, model_option("Card name, card file, model folder, or ADAPTER:TARGET.")]
Task = Annotated[str | None, task_option("Prompt suite: name, folder, or file of prompts. [default: the card's]")]
NamedTask = Annotated[str, task_option("Prompt suite: name, folder, or file of prompts.")]
LabellerName = Annotated[
    str | None,
    typer.Option(
        "--labeller",
        "-l",
        autocompletion=complete.one("labellers"),
        help="Labeller: name or card file. [default: the card's]",
    ),
]
NamedLabeller = Annotated[
    str, typer.Option("--labeller", "-l", autocompletion=complete.one("labellers"), help="Labeller: name or card file.")
]
Limit = Annotated[int | None, typer.Option("--limit-prompts", min=1, help="Only the first K prompts.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Run seed; the same for models that are compared.")]
StoreDir = Annotated[str, store_option("Where images and labels are kept.")]
StoreOfRun = Annotated[str | None, store_option("Where the images are. [default: beside the run]")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", callback=_check_dtype, help="float32, bfloat16 or float16. [default: the card's]"),
]
Batch = Annotated[int | None, typer.Option("--batch-size", min=1, help="Images per block. [default: the card's]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Full = Annotated[bool, typer.Option("--full", help="Print every estimate and metric.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")]
