"""`fairbench refine`: an instruction for rewriting prompts, refined on labels of generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import (
    AsJson,
    Device,
    Dtype,
    LabellerName,
    Limit,
    Model,
    Plugins,
    Quiet,
    Seed,
    StoreDir,
    task_option,
)
from fairbench.display.plain import echo_json

Task = Annotated[str, task_option("Task whose prompts are rewritten and drawn: not the one that judges.")]
Out = Annotated[Path, typer.Option("--out", help="File for the frozen instruction.")]
Groups = Annotated[
    str, typer.Option("--groups", help="Attribute or cross of the labeller, as in gender, race4, gender_x_race4.")
]
PerPrompt = Annotated[
    int, typer.Option("--images-per-prompt", "-n", min=4, max=20000, help="Images of each prompt in each round.")
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=8, help="Rounds, at most.")]
Tolerance = Annotated[
    float,
    typer.Option("--tolerance", min=0.001, max=0.9, help="Stop when concentration's upper 95 % limit is no higher."),
]
Instruction = Annotated[
    str | None,
    typer.Option("--instruction", help="What the text model is asked first, with {prompt} in it. [default: ours]"),
]


def refine(
    task: Task,
    out: Out,
    model: Model = "phantom",
    groups: Groups = "gender_x_race4",
    images_per_prompt: PerPrompt = 32,
    rounds: Rounds = 4,
    tolerance: Tolerance = 0.05,
    instruction: Instruction = None,
    labeller: LabellerName = None,
    limit_prompts: Limit = None,
    seed: Seed = 0,
    store: StoreDir = "runs/store",
    device: Device = "auto",
    dtype: Dtype = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Refine an instruction for rewriting prompts on labelled images.

    A text model rewrites, the model draws, a labeller counts, and the text model is told, until the groups are even.
    The file is for `run --method fair-cot:FILE`. Stopped and started again, it goes on where it was.
    """
    from rich.console import Console

    from fairbench.cli.logs import start
    from fairbench.methods.common import REWRITE
    from fairbench.refinement import refine as refinement
    from fairbench.refinement import terminal
    from fairbench.runs.arguments import RunSettings
    from fairbench.storage.store import Store

    progress = start(quiet)
    settings = RunSettings(
        model=model,
        task=task,
        labeller=labeller,
        images_per_prompt=images_per_prompt,
        limit_prompts=limit_prompts,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    asked = refinement.RefineSettings(settings, groups, rounds, tolerance, instruction or REWRITE)
    chain = refinement.refine(asked, Store(store), out, progress)
    if as_json:
        echo_json(terminal.summary(chain, out))
    else:
        terminal.show(chain, out, Console())
