"""`fairbench sweep`: strength against price, over trainers and shares of capability data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import AsJson, Device, LabellerName, Limit, Plugins, Quiet, StoreDir, Verbose, model_option
from fairbench.display.plain import echo_json

Model = Annotated[str, model_option("Card name, card file or model folder.")]
Data = Annotated[Path, typer.Option("--data", help="Balanced set, as `fairbench synthesize` writes it.")]
Train = Annotated[str, typer.Option("--train", help="Trainers, as in sft,distill,grpo.")]
Retain = Annotated[str, typer.Option("--retain", help="Shares of capability data, SHARE[:KIND[+KIND]], as in 0,.5,.8.")]
More = Annotated[list[str] | None, typer.Option("--arm", help="One more arm, as sft:.5; may be given again.")]
Control = Annotated[
    str | None,
    typer.Option(
        "--control",
        help="Arm that is also trained on as many debiasing tokens as without capability data, as sft:.8; none. "
        "[default: the first trainer's largest share]",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", min=2, help="Trainings of an arm.")]
Budget = Annotated[str, typer.Option("--budget", help="Of every training: seconds:N, steps:N or tokens:N.")]
ChosenTask = Annotated[
    str | None,
    typer.Option(
        "--task", "-t", autocompletion=complete.one("tasks"), help="Task to choose an arm on. [default: the card's]"
    ),
]
JudgeTask = Annotated[
    str,
    typer.Option("--judge-task", autocompletion=complete.one("tasks"), help="Task on which all arms are judged, once."),
]
FollowingTask = Annotated[
    str | None,
    typer.Option("--following-task", autocompletion=complete.one("tasks"), help="Task whose prompts state a group."),
]
ContextTask = Annotated[
    str | None,
    typer.Option(
        "--context-task",
        autocompletion=complete.one("tasks"),
        help="Task whose prompts leave an attribute hardly open, as fixed-by-context does.",
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        "--judge",
        autocompletion=complete.one("labellers"),
        help="Labeller of all that is judged; no training should use it. [default: --labeller]",
    ),
]
Attribute = Annotated[
    str | None,
    typer.Option("--attribute", help="Attribute or cross that the bias is of. [default: the labeller's first cross]"),
]
ImagesPerPrompt = Annotated[
    int | None, typer.Option("--images-per-prompt", "-n", min=2, help="Images per prompt. [default: the card's]")
]
StatedImages = Annotated[
    int | None,
    typer.Option(
        "--stated-images",
        min=1,
        help="The same of --following-task and --context-task, which have many prompts. [default: -n]",
    ),
]
Samples = Annotated[int, typer.Option("--samples", min=1, max=10000, help="Answers per question in text.")]
Preset = Annotated[str | None, typer.Option("--preset", help="Of `fairbench train`, for all trainers.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Examples per step. [default: the preset's]")]
Target = Annotated[str | None, typer.Option("--target", help="Shares to aim at, as in `fairbench train`.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="First seed; training and images of an arm share each.")]
DataSeconds = Annotated[
    float | None,
    typer.Option(
        "--data-seconds",
        min=0.0,
        help="Seconds that making the set took. [default: its images, at what drawing one takes here]",
    ),
]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of the tests.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the sweep; a stopped one goes on there.")]


def sweep(
    model: Model,
    data: Data,
    train: Train,
    judge_task: JudgeTask,
    budget: Budget,
    out: Out,
    retain: Retain = "0",
    arm: More = None,
    control: Control = None,
    seeds: Seeds = 3,
    task: ChosenTask = None,
    following_task: FollowingTask = None,
    context_task: ContextTask = None,
    labeller: LabellerName = None,
    judge: Judge = None,
    attribute: Attribute = None,
    images_per_prompt: ImagesPerPrompt = None,
    stated_images: StatedImages = None,
    limit_prompts: Limit = None,
    samples: Samples = 50,
    preset: Preset = None,
    batch: Batch = None,
    target: Target = None,
    seed: Seed = 0,
    data_seconds: DataSeconds = None,
    alpha: Alpha = 0.05,
    store: StoreDir = "runs/store",
    device: Device = "auto",
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train in several ways; compare gains and prices.

    Arms are trainers x shares of capability data, each trained with several seeds under one budget. Stopped and started
    again, it goes on where it was.
    """
    from rich.console import Console

    from fairbench.cli.logs import start
    from fairbench.sweeps import arms, design, files, terminal
    from fairbench.sweeps.sweep import sweep as do_sweep

    progress = start(quiet, verbose)
    asked = design.Design(
        model=model,
        data=data,
        arms=tuple(arms.arms(train, retain, arm or [], control)),
        seeds=seeds,
        budget=arms.budget(budget),
        tasks=design.tasks(model, task, judge_task, following_task, context_task),
        out=out,
        store=store,
        labeller=labeller,
        judge=judge,
        attribute=attribute,
        images_per_prompt=images_per_prompt,
        stated_images=stated_images,
        limit_prompts=limit_prompts,
        samples=samples,
        preset=preset,
        options={"batch": batch, "target": target},
        seed=seed,
        data_seconds=data_seconds,
        alpha=alpha,
        device=device,
    )
    found = do_sweep(asked, progress)
    if as_json:
        echo_json(files.read(asked))
    else:
        terminal.show(found, asked, Console())
