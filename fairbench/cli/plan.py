"""`fairbench plan`: how many images and prompts a comparison of two runs needs, and what a budget can detect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import AsJson, NamedLabeller, Plugins, task_option
from fairbench.display.plain import echo, echo_json

Task = Annotated[str, task_option("Prompt suite: name or folder.")]
Detect = Annotated[float, typer.Option("--detect", help="Change of RD, towards balance, to be found.")]
Attribute = Annotated[
    str,
    typer.Option("--attribute", help="Comma-separated attributes and crosses, as in gender,gender_x_race4, or all."),
]
Power = Annotated[float, typer.Option("--power", help="Probability of finding the change.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of the two-sided test.")]
Baseline = Annotated[
    str | None, typer.Option("--baseline", help="Run A: its RD, or the folder of a run. [default: 0.75 x 2/K]")
]
FaceRate = Annotated[
    float | None, typer.Option("--face-rate", help="Faces per image. [default: the run's, the calibration's, or 1]")
]
BetweenSd = Annotated[
    float | None,
    typer.Option(
        "--between-prompt-sd", help="Standard deviation of the change over prompts. [default: half of --detect]"
    ),
]
Images = Annotated[int, typer.Option("--images-per-prompt", "-n", help="Images per prompt and run.")]
Prompts = Annotated[int | None, typer.Option("--prompts", help="Number of prompts. [default: the task's]")]
Budget = Annotated[int | None, typer.Option("--budget", help="Images per run, to be split in the best way.")]
ScopeName = Annotated[str, typer.Option("--scope", help="'other prompts' or 'this list'.")]
Estimand = Annotated[
    str, typer.Option("--estimand", help="What is tested: rd (at equal face counts) or concentration.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for plan.json, plan.csv and plan.png.")]


def plan(
    task: Task,
    labeller: NamedLabeller,
    detect: Detect,
    attribute: Attribute = "all",
    power: Power = 0.8,
    alpha: Alpha = 0.05,
    baseline: Baseline = None,
    face_rate: FaceRate = None,
    between_prompt_sd: BetweenSd = None,
    images_per_prompt: Images = 160,
    prompts: Prompts = None,
    budget: Budget = None,
    scope: ScopeName = "other prompts",
    estimand: Estimand = "rd",
    out: Out = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Say how many images and prompts a comparison needs.

    Also what a budget can detect, and how best to split it.
    """
    from rich.console import Console

    from fairbench.planning import analysis, files, inputs, terminal
    from fairbench.planning.design import ESTIMANDS, SCOPES, Design, choice

    if out is not None:
        files.check(out)
    design = Design(
        detect=detect,
        power=power,
        alpha=alpha,
        scope=choice("--scope", scope, SCOPES),
        estimand=choice("--estimand", estimand, ESTIMANDS),
        between_prompt_sd=detect / 2 if between_prompt_sd is None else between_prompt_sd,
        prompts=inputs.number_of_prompts(task) if prompts is None else prompts,
        images=images_per_prompt,
        budget=budget,
    )
    result = analysis.analyse(task, labeller, attribute, design, inputs.baseline(baseline), face_rate)
    if out is not None:
        files.write(result, out)
    if as_json:
        echo_json(terminal.summary(result))
        return
    terminal.show(result, Console())
    if out is not None:
        echo(f"plan.json, plan.csv and plan.png in {out}")
