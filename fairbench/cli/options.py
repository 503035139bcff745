"""Options that several commands have, and what each of these does before it works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fairbench.errors import FairbenchError

Model = Annotated[str, typer.Option("--model", "-m", help="Card name, card file, model folder, or ADAPTER:TARGET.")]
Task = Annotated[str | None, typer.Option("--task", "-t", help="Prompt suite: name or folder. [default: the card's]")]
LabellerName = Annotated[
    str | None, typer.Option("--labeller", "-l", help="Labeller: name or card file. [default: the card's]")
]
NamedLabeller = Annotated[str, typer.Option("--labeller", "-l", help="Labeller: name or card file.")]
Limit = Annotated[int | None, typer.Option("--limit-prompts", min=1, help="Only the first K prompts.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Run seed; the same for models that are compared.")]
StoreDir = Annotated[Path, typer.Option("--store", envvar="FAIRBENCH_STORE", help="Where images and labels are kept.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, mps.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16, float16. [default: the card's]")]
Batch = Annotated[int | None, typer.Option("--batch-size", min=1, help="Images a block. [default: the card's]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")]


def check_dtype(dtype: str | None) -> None:
    """Raise FairbenchError for a dtype that no model is run in."""
    if dtype not in {None, "float32", "bfloat16", "float16"}:
        raise FairbenchError(f"--dtype {dtype}: name float32, bfloat16 or float16.")


def calm_libraries() -> None:
    """Keep libraries from printing bars and notices of their own between ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
