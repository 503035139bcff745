"""`fairbench train sft|bpo|distill|grpo|i2t`: fine-tune a model; the result is used as --method lora:PATH."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fairbench.cli import complete
from fairbench.cli.options import Plugins, Quiet, Verbose, model_option
from fairbench.display.plain import echo
from fairbench.errors import FairbenchError

app = typer.Typer(
    help="Fine-tune a model on a balanced set.\n\nUse the result as --method lora:PATH.",
    no_args_is_help=True,
    add_completion=False,
)

Model = Annotated[
    str,
    model_option("Card name, card file or model folder."),
]
Data = Annotated[Path, typer.Option("--data", help="Manifest of a balanced set, as `fairbench synthesize` writes it.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the adapter; a stopped training goes on there.")]
Parent = Annotated[Path | None, typer.Option("--from", help="Adapter folder to start from, as BPO does after SFT.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="liu2025-gender, liu2025-race, liu2025-mix or phantom; options override it."),
]
Groups = Annotated[
    str | None, typer.Option("--groups", help="Attributes to balance, as in gender,race4; mix: all of the set.")
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps. [default: from --epochs]")]
Epochs = Annotated[float | None, typer.Option("--epochs", min=0.001, help="Passes over the set. [default: 1]")]
LearningRate = Annotated[
    float | None, typer.Option("--lr", min=0.0, help="Highest learning rate. [default: 1e-4; bpo 8e-7]")
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", min=1, help="Examples per step, for bpo of K images each. [default: 32; bpo 8]"),
]
Rank = Annotated[int | None, typer.Option("--rank", min=1, help="Rank of the adapter. [default: 32]")]
Alpha = Annotated[float | None, typer.Option("--alpha", min=0.0, help="Scale of the adapter. [default: 32]")]
Dropout = Annotated[
    float | None, typer.Option("--dropout", min=0.0, max=0.99, help="Dropout of the adapter. [default: 0.1]")
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="bpo only: bpo; a released variant (sigmoid-squared, bpo-v2, bpo-v3); or one of ours "
        "(own-log-ratio-hinge, own-log-odds-hinge, own-log-ratio-squared).",
    ),
]
Beta = Annotated[float | None, typer.Option("--beta", min=0.0, help="bpo only: factor of the loss. [default: 1]")]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Shares of groups, as in female=.6,Asian=.4, or gender=FILE.csv with a line per subject. [default: equal]",
    ),
]
Retain = Annotated[
    str | None,
    typer.Option(
        "--retain",
        metavar="SHARE[:KIND]",
        help="Share of examples that keep what the model could do: stated (prompts that state a group, the default), "
        "captions, questions, general; several with +.",
    ),
]
Hard = Annotated[
    bool, typer.Option("--hard", help="distill only: learn the teacher's drawn tokens alone, as a control.")
]
Images = Annotated[
    int | None, typer.Option("--images", min=2, help="grpo only: images per prompt and step. [default: 8]")
]
Reward = Annotated[
    str | None,
    typer.Option(
        "--reward", help="grpo only: balance; log-ratio (Fair-GRPO's); or permuted, a control. [default: balance]"
    ),
]
KlWeight = Annotated[
    float | None, typer.Option("--kl", min=0.0, help="grpo only: weight of the KL to the base. [default: 0.01]")
]
FaceWeight = Annotated[
    float | None, typer.Option("--face", min=0.0, help="grpo only: weight of the reward for a face. [default: 0.1]")
]
Follow = Annotated[
    float | None,
    typer.Option("--follow", min=0.0, max=1.0, help="grpo only: share of prompts that state a group. [default: 0]"),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="distill only: match the mixture over all groups; K times the teacher's work.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of first weights, order and dropout.")]
Precision = Annotated[str, typer.Option("--mixed-precision", help="no, bf16 or fp16.")]
Accumulation = Annotated[
    int, typer.Option("--accumulation", min=1, help="Parts of a batch, one after another; saves memory.")
]
Checkpointing = Annotated[bool, typer.Option("--checkpointing", help="Save memory at a third more time.")]
SaveEvery = Annotated[int, typer.Option("--save-every", min=1, help="Steps between states to resume from.")]
LogEvery = Annotated[int, typer.Option("--log-every", min=1, help="Steps between rows of metrics.jsonl.")]
Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        help="Trackers that get the figures, too: tensorboard, wandb, trackio, mlflow; none. "
        "[default: tensorboard where it is installed]",
    ),
]
EvalEvery = Annotated[int, typer.Option("--eval-every", min=0, help="Steps between evaluations; 0: none.")]
EvalTask = Annotated[
    str | None,
    typer.Option(
        "--eval-task", autocompletion=complete.one("tasks"), help="Task of the evaluations. [default: the card's]"
    ),
]
EvalPrompts = Annotated[int, typer.Option("--eval-prompts", min=1, help="The first so many prompts of the task.")]
EvalImages = Annotated[int, typer.Option("--eval-images", min=2, help="Images per prompt of an evaluation.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps; torchrun uses several.")]


def train(
    ctx: typer.Context,
    model: Model,
    data: Data,
    out: Out,
    parent: Parent = None,
    preset: Preset = None,
    groups: Groups = None,
    steps: Steps = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch: Batch = None,
    rank: Rank = None,
    alpha: Alpha = None,
    dropout: Dropout = None,
    loss: Loss = None,
    beta: Beta = None,
    target: Target = None,
    retain: Retain = None,
    exact: Exact = False,
    hard: Hard = False,
    images: Images = None,
    reward: Reward = None,
    kl: KlWeight = None,
    face: FaceWeight = None,
    follow: Follow = None,
    seed: Seed = 0,
    mixed_precision: Precision = "no",
    accumulation: Accumulation = 1,
    checkpointing: Checkpointing = False,
    save_every: SaveEvery = 200,
    log_every: LogEvery = 10,
    track: Track = None,
    eval_every: EvalEvery = 0,
    eval_task: EvalTask = None,
    eval_prompts: EvalPrompts = 4,
    eval_images: EvalImages = 16,
    device: Device = "auto",
    plugins: Plugins = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train, or go on with a training that was stopped."""
    from fairbench.cli.logs import start

    first = os.environ.get("RANK", "0") == "0"  # of several processes, one speaks
    progress = start(quiet or not first, verbose, silent=not first)
    from fairbench.cards import catalog
    from fairbench.synthesis import balanced
    from fairbench.training import capability, presets

    options = {
        "groups": _groups(groups),
        "steps": steps,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch": batch,
        "rank": rank,
        "alpha": alpha,
        "dropout": dropout,
        "loss": loss,
        "beta": beta,
        "target": target,
        "exact": exact,
        "hard": hard,
        "images": images,
        "reward": reward,
        "kl": kl,
        "face": face,
        "follow": follow,
        "seed": seed,
        "mixed_precision": mixed_precision,
        "accumulation": accumulation,
        "checkpointing": checkpointing,
    }
    settings = presets.settings(_kind(ctx, options, parent), preset, options)
    if retain is not None:
        settings = dataclasses.replace(settings, retain=capability.parsed(retain))
    card, balanced_set = catalog.load_model(model), balanced.read(data)
    tracked = None if track is None else tuple(name.strip() for name in track.split(",") if name.strip())
    balanced_set = balanced_set.margin(settings.groups) if settings.groups else balanced_set
    evaluate = None
    if eval_every and first:
        evaluate = _evaluator(card, eval_task, eval_prompts, eval_images, device, seed)
    from fairbench.training import finetune
    from fairbench.training.job import Job

    job = Job(settings, card, balanced_set, out, parent, device, save_every, log_every, eval_every, evaluate, tracked)
    folder = finetune.train(job, progress)
    if first:
        _say_following(folder)
        echo(f"adapter: {folder}")
        echo(f"use it: fairbench run --model {model} --method lora:{folder}")


def _say_following(folder: Path) -> None:
    """Say how often the teacher of a distillation drew the group that its prompt states."""
    import json

    path = folder / "following.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        echo(f"the teacher showed the group that its prompt states, by {found['labeller']}:")
        for row in found["groups"]:
            echo(f"  {' '.join(row['group'])}: {row['shown']} of {row['images']}")


def _kind(ctx: typer.Context, options: dict[str, Any], parent: Path | None) -> Any:
    """Return the command's name; refuse options that it would ignore."""
    kind = str(ctx.info_name)
    from fairbench.training.presets import OPTIONS_OF

    for owner, names in OPTIONS_OF.items():
        given = next((name for name in names if options[name] not in (None, False)), None)
        if kind != owner and given is not None:
            raise FairbenchError(f"--{given} belongs to train {owner}: leave it out of train {kind}.")
    for name in ("rank", "alpha"):
        if parent is not None and options[name] is not None:
            raise FairbenchError(f"--{name}: the adapter that --from names has its own; leave it out.")
    return kind


def _groups(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return () if text == "mix" else tuple(name.strip() for name in text.split(",") if name.strip())


def _evaluator(card: Any, task: str | None, prompts: int, images: int, device: str, seed: int) -> Any:
    from fairbench.runs.device import pick_device
    from fairbench.training import evaluation

    task = task or evaluation.default_task(card.card)
    return evaluation.Evaluator(card, task, prompts, images, pick_device(device), seed)


_HELP = {
    "sft": "Supervised fine-tuning on images of every group.\n\nThey stand under the neutral prompt.",
    "bpo": "Balanced preference optimisation, after sft.\n\nIt asks for equal probability of the groups of a prompt.",
    "distill": "Distillation from the model itself.\n\nThe neutral prompt answers as prompts of every group do.",
    "grpo": "Reinforcement on images that the model draws.\n\nGroups that are too frequent become less probable.",
    "i2t": "Understanding control: images in, occupation out.\n\nThe answer to an image is the neutral occupation.",
}
for _name, _help in _HELP.items():
    app.command(_name, help=_help)(train)
