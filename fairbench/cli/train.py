"""`fairbench train sft|bpo|distill|grpo|dft|i2t`: fine-tune a model; the result is used as --method lora:PATH."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import typer

from fairbench.cli import train_options as options
from fairbench.cli.options import Plugins, Quiet, Verbose
from fairbench.display.plain import echo
from fairbench.errors import FairbenchError

app = typer.Typer(
    help="Fine-tune a model on a balanced set.\n\nUse the result as --method lora:PATH.",
    no_args_is_help=True,
    add_completion=False,
)


def train(
    ctx: typer.Context,
    model: options.Model,
    data: options.Data,
    out: options.Out,
    parent: options.Parent = None,
    preset: options.Preset = None,
    groups: options.Groups = None,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    batch: options.Batch = None,
    rank: options.Rank = None,
    alpha: options.Alpha = None,
    dropout: options.Dropout = None,
    loss: options.Loss = None,
    beta: options.Beta = None,
    target: options.Target = None,
    retain: options.Retain = None,
    exact: options.Exact = False,
    hard: options.Hard = False,
    images: options.Images = None,
    reward: options.Reward = None,
    kl: options.KlWeight = None,
    face: options.FaceWeight = None,
    follow: options.Follow = None,
    uncertainty: options.Uncertainty = None,
    preserve: options.Preserve = None,
    changed: options.Changed = None,
    denoising: options.DenoisingSteps = None,
    labeller: options.TrainLabeller = None,
    dino: options.Dino = None,
    seed: options.Seed = 0,
    mixed_precision: options.Precision = "no",
    accumulation: options.Accumulation = 1,
    checkpointing: options.Checkpointing = False,
    save_every: options.SaveEvery = 200,
    log_every: options.LogEvery = 10,
    track: options.Track = None,
    eval_every: options.EvalEvery = 0,
    eval_task: options.EvalTask = None,
    eval_prompts: options.EvalPrompts = 4,
    eval_images: options.EvalImages = 16,
    device: options.Device = "auto",
    plugins: Plugins = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train, or go on with a training that was stopped."""
    arguments = locals()
    from fairbench.cli.logs import start

    first = os.environ.get("RANK", "0") == "0"  # of several processes, one speaks
    progress = start(quiet or not first, verbose, silent=not first)
    from fairbench.cards import catalog
    from fairbench.synthesis import balanced
    from fairbench.training import capability, presets

    given = {name: arguments[name] for name in presets.OPTIONS if name in arguments} | {"groups": _groups(groups)}
    settings = presets.settings(_kind(ctx, given, parent), preset, given)
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
    from fairbench.training import records

    if found := records.following(folder):
        echo(f"the teacher showed the group that its prompt states, by {found['labeller']}:")
        for row in found["groups"]:
            echo(f"  {' '.join(row['group'])}: {row['shown']} of {row['images']}")


def _kind(ctx: typer.Context, given: dict[str, Any], parent: Path | None) -> Any:
    """Return the command's name; refuse options that it would ignore."""
    kind = str(ctx.info_name)
    from fairbench.training.presets import kinds_with

    for name, value in given.items():
        if value is not None and value is not False and kind not in (owners := kinds_with(name)):
            raise FairbenchError(f"--{name} belongs to train {' and '.join(owners)}: leave it out of train {kind}.")
    for name in ("rank", "alpha"):
        if parent is not None and given[name] is not None:
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
    "dft": "Fine-tuning of a diffusion model's sampling.\n\nImages are pulled to classes that even out their shares.",
    "i2t": "Understanding control: images in, occupation out.\n\nThe answer to an image is the neutral occupation.",
}
for _name, _help in _HELP.items():
    app.command(_name, help=_help)(train)
