"""`fairbench plan`: how many images and prompts a comparison of two runs needs, and what a budget can detect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import AsJson, NamedLabeller, Plugins, task_option
from fairbench.display.plain import echo, echo_json

Task = Annotated[str, task_option("Prompt suite: name or folder.")]
Detect = Annotated[float, typer.Option("--detect", help="Change of concentration, towards balance, to be found.")]
Attribute = Annotated[
    str,
    typer.Option(
        "--attribute", help="Attributes and crosses with commas, as in gender,gender_x_race4; primary, or all."
    ),
]
Power = Annotated[float, typer.Option("--power", help="Probability of finding the change.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of all primary tests together.")]
Baseline = Annotated[
    str | None, typer.Option("--baseline", help="Run A: its concentration, or the folder of a run. [default: 0.56]")
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
ScopeName = Annotated[str, typer.Option("--scope", help="'this list' or 'other prompts'.")]
Arms = Annotated[
    list[str] | None,
    typer.Option("--arm", metavar="MODEL[:METHOD]", help="A run of the comparison, the baseline first; repeat it."),
]
Register = Annotated[
    Path | None, typer.Option("--register", metavar="FILE", help="Write the comparison down, with its hash.")
]
Equivalence = Annotated[
    bool, typer.Option("--equivalence", help="Say, too, how surely two equal models would be shown to be equal.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for plan.json, plan.csv and plan.png.")]


def plan(
    task: Task,
    labeller: NamedLabeller,
    detect: Detect,
    attribute: Attribute = "primary",
    power: Power = 0.8,
    alpha: Alpha = 0.05,
    baseline: Baseline = None,
    face_rate: FaceRate = None,
    between_prompt_sd: BetweenSd = None,
    images_per_prompt: Images = 160,
    prompts: Prompts = None,
    budget: Budget = None,
    scope: ScopeName = "this list",
    equivalence: Equivalence = False,
    arm: Arms = None,
    register: Register = None,
    out: Out = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Say how many images and prompts a comparison needs.

    Also what a budget can detect, and how best to split it. --register writes task, arms, attributes, margins, counts
    and level into a file with their hash, against which `compare --registered FILE` holds the comparison.
    """
    from rich.console import Console

    from fairbench.planning import analysis, files, inputs, registering, terminal
    from fairbench.planning.design import Design, choice
    from fairbench.stats.intervals import SCOPES

    if out is not None:
        files.check(out)
    arms = registering.arms(arm or [], register)
    design = Design(
        detect=detect,
        power=power,
        alpha=alpha,
        scope=choice("--scope", scope, SCOPES),
        tests=inputs.number_of_tests(labeller, len(arms)),
        between_prompt_sd=detect / 2 if between_prompt_sd is None else between_prompt_sd,
        prompts=inputs.number_of_prompts(task) if prompts is None else prompts,
        images=images_per_prompt,
        budget=budget,
    )
    result = analysis.analyse(
        task, labeller, attribute, design, inputs.baseline(baseline), face_rate, equal=equivalence
    )
    registration = None if register is None else registering.write(register, task, arms, result)
    if out is not None:
        files.write(result, out)
    if as_json:
        echo_json(terminal.summary(result))
        return
    terminal.show(result, Console())
    if registration is not None:
        echo(f"registered in {register}, sha256 {registration.sha256}: publish it before the images are made")
    if out is not None:
        echo(f"plan.json, plan.csv and plan.png in {out}")
