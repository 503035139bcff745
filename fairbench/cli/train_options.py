"""The options of `fairbench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import model_option

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
    float | None, typer.Option("--lr", min=0.0, help="Highest learning rate. [default: 1e-4; bpo 8e-7; dft 5e-5]")
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch", min=1, help="Examples per step, for bpo of K images each. [default: 32; bpo, grpo 8; dft 1]"
    ),
]
Rank = Annotated[int | None, typer.Option("--rank", min=1, help="Rank of the adapter. [default: 32]")]
Alpha = Annotated[float | None, typer.Option("--alpha", min=0.0, help="Scale of the adapter. [default: 32]")]
Dropout = Annotated[
    float | None,
    typer.Option("--dropout", min=0.0, max=0.99, help="Dropout of the adapter. [default: 0.1; grpo and dft 0]"),
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
    int | None, typer.Option("--images", min=2, help="grpo, dft: images per prompt and step. [default: 8; dft 24]")
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
Uncertainty = Annotated[
    float | None,
    typer.Option(
        "--uncertainty",
        min=0.0,
        max=1.0,
        help="dft only: images are left alone of which more than this share of drawn targets asks for another class. "
        "[default: 0.2]",
    ),
]
Preserve = Annotated[
    float | None,
    typer.Option("--preserve", min=0.0, help="dft only: weight of likeness to the base model's image. [default: 8]"),
]
Changed = Annotated[
    float | None,
    typer.Option(
        "--changed", min=0.0, max=1.0, help="dft only: factor of --preserve where the class must change. [default: 0.2]"
    ),
]
DenoisingSteps = Annotated[
    int | None, typer.Option("--denoising", min=1, help="dft only: steps of sampling. [default: 20]")
]
TrainLabeller = Annotated[
    str | None,
    typer.Option(
        "--labeller",
        autocompletion=complete.one("labellers"),
        help="dft only: a labeller of torch modules; ONNX files and questions give no gradient. [default: the card's]",
    ),
]
Dino = Annotated[
    str | None,
    typer.Option("--dino", help="dft only: folder of a DINOv2 (transformers), for likeness besides CLIP's."),
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
