"""`fairbench synthesize`: a balanced set for training, from a model or from one's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import AsJson, Device, Dtype, Plugins, Quiet, Seed, StoreDir, model_option, task_option
from fairbench.display.plain import echo_json
from fairbench.errors import FairbenchError

Model = Annotated[
    str | None,
    model_option("Card name, card file, model folder, or ADAPTER:TARGET. [default: phantom]"),
]
Task = Annotated[
    str | None,
    task_option("Task whose prompts training will see: name or folder."),
]
Groups = Annotated[
    str, typer.Option("--groups", help="Attribute or cross of the labeller, as in gender, race4, gender_x_race4.")
]
PerGroup = Annotated[
    int | None,
    typer.Option(
        "--per-group",
        "-n",
        min=1,
        max=20000,
        help="Images of each group for each prompt. [default: 10; of --images: what the smallest group has]",
    ),
]
LabellerName = Annotated[
    str | None,
    typer.Option(
        "--labeller",
        "-l",
        autocompletion=complete.one("labellers"),
        help="Labeller: name or card file. [default: the model card's; of --images: fairface]",
    ),
]
Templates = Annotated[
    Path | None,
    typer.Option("--templates", help="File of wordings instead of the task's: one per line, {subject} in each."),
]
Limit = Annotated[int | None, typer.Option("--limit-prompts", min=1, help="Only the first K prompts of the task.")]
MaxTries = Annotated[
    int | None,
    typer.Option("--max-tries", min=1, help="Give a group up after so many times --per-group images. [default: 4]"),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the set. [default: runs/balanced/<set>]")]
OwnImages = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Your own images instead of a model's: a folder PROMPT/GROUP/image (with --task or --templates: "
        "SUBJECT/GROUP/image), where GROUP is its labels, as in female-Asian; or a CSV of path, prompt, attributes.",
    ),
]
Confirm = Annotated[bool, typer.Option("--confirm", help="Of --images, keep those that the labeller confirms.")]
DEFAULT_PER_GROUP, DEFAULT_MAX_TRIES = 10, 4


def synthesize(
    model: Model = None,
    task: Task = None,
    groups: Groups = "gender_x_race4",
    per_group: PerGroup = None,
    labeller: LabellerName = None,
    templates: Templates = None,
    limit_prompts: Limit = None,
    max_tries: MaxTries = None,
    images: OwnImages = None,
    confirm: Confirm = False,
    seed: Seed = 0,
    store: StoreDir = "runs/store",
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a balanced training set of confirmed images.

    Each neutral prompt gets confirmed images of every group. Stopped and started again, it goes on where it was.
    """
    from rich.console import Console

    from fairbench.cli.logs import start
    from fairbench.runs.arguments import RunSettings
    from fairbench.storage.store import Store
    from fairbench.synthesis import sets, terminal
    from fairbench.synthesis.from_model import SetSettings

    progress = start(quiet)
    settings = RunSettings(
        # A set of one's own images is judged as a run of --model folder: is, unless a model is named for its labeller.
        model=model or ("phantom" if images is None else f"folder:{images}"),
        task=task,
        labeller=labeller,
        limit_prompts=limit_prompts,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    if images is None:
        if confirm:
            raise FairbenchError("--confirm belongs to --images: what a model makes is always confirmed.")
        sizes = per_group or DEFAULT_PER_GROUP, max_tries or DEFAULT_MAX_TRIES
        manifest = sets.by_model(SetSettings(settings, groups, *sizes, templates), Store(store), out, progress)
    else:
        options = {"--limit-prompts": limit_prompts, "--max-tries": max_tries, "--dtype": dtype, "--seed": seed or None}
        sets.refuse_options_of_models(images, options)
        labels = Store(store) if confirm else None
        manifest = sets.of_own_images(images, settings, groups, per_group, templates, labels, out, progress)
    if as_json:
        echo_json(terminal.summary(manifest))
    else:
        terminal.show(manifest, Console())
