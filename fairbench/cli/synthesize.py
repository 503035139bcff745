"""`fairbench synthesize`: a balanced set for training, from a model or from one's own images."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairbench.cli.options import (
    AsJson,
    Device,
    Dtype,
    LabellerName,
    Model,
    Quiet,
    Seed,
    StoreDir,
    calm_libraries,
    check_dtype,
)
from fairbench.errors import FairbenchError

if TYPE_CHECKING:
    from rich.console import Console

    from fairbench.store import Store

Task = Annotated[str | None, typer.Option("--task", "-t", help="Whose prompts training will see: name or folder.")]
Groups = Annotated[str, typer.Option("--groups", help="gender, race4, gender_x_race4: attributes of the labeller.")]
PerGroup = Annotated[
    int | None,
    typer.Option(
        "--per-group", "-n", min=1, max=20000,
        help="Confirmed images of each group, for each prompt. [default: 10; of --images: what the smallest group has]",
    ),
]  # fmt: skip
Templates = Annotated[
    Path | None,
    typer.Option("--templates", help="Wordings instead of the task's own: a file, one a line, {subject} in each."),
]
Limit = Annotated[int | None, typer.Option("--limit-prompts", min=1, help="Only the first K prompts of the task.")]
MaxTries = Annotated[int, typer.Option("--max-tries", min=1, help="Give up a group at so many times --per-group.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the set. [default: runs/balanced/<set>]")]
Own = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Your own images instead of making any: a folder PROMPT/GROUP/image (with --task: SUBJECT/GROUP/image), "
        "or a CSV (image, prompt, the attributes).",
    ),
]
Confirm = Annotated[bool, typer.Option("--confirm", help="With --images: keep those that the labeller confirms.")]
DEFAULT_PER_GROUP = 10


def synthesize(
    model: Model = "phantom",
    task: Task = None,
    groups: Groups = "gender_x_race4",
    per_group: PerGroup = None,
    labeller: LabellerName = None,
    templates: Templates = None,
    limit_prompts: Limit = None,
    max_tries: MaxTries = 4,
    images: Own = None,
    confirm: Confirm = False,
    seed: Seed = 0,
    store: StoreDir = Path("runs/store"),
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a balanced set: every neutral prompt with confirmed images of every group. Stopped, it goes on."""
    from rich.console import Console

    from fairbench.cli.progress import reporter, set_up_logging
    from fairbench.stages.plan import RunSettings
    from fairbench.store import Store
    from fairbench.train import own_folder

    console = Console(stderr=True)
    set_up_logging(console, verbose=False, quiet=quiet)
    calm_libraries()
    check_dtype(dtype)
    settings = RunSettings(model, task, labeller=labeller, limit_prompts=limit_prompts, seed=seed, device=device,
                           dtype=dtype)  # fmt: skip
    progress = reporter(console, quiet)
    if images is None:
        if confirm:
            raise FairbenchError("--confirm belongs to --images: what a model makes is always confirmed.")
        manifest = _made(settings, groups, per_group or DEFAULT_PER_GROUP, max_tries, templates, Store(store), out,
                         progress)  # fmt: skip
    else:
        given = {"--task": task, "--templates": templates, "--limit-prompts": limit_prompts}
        if images.is_dir() and not (images / own_folder.TABLE).exists():
            del given["--task"]  # it says whose wordings the folder's subjects stand under
        odd = next((flag for flag, value in given.items() if value is not None), None)
        if odd:
            raise FairbenchError(f"{odd} says what a model is to make: with --images {images}, leave it out.")
        manifest = _own(settings, groups, per_group, images, Store(store) if confirm else None, out, progress)
    _show(manifest, as_json, Console())


def _made(
    settings: Any, groups: str, per_group: int, max_tries: int, templates: Path | None, store: Store,
    out: Path | None, progress: Any,
) -> Path:  # fmt: skip
    from fairbench.train import data, export, synthesize

    if settings.task is None:
        raise FairbenchError(
            "--task is missing: name the task whose prompts training will see, as in --task phantom-occupations-train."
        )
    current = synthesize.plan(synthesize.Wanted(settings, groups, per_group, max_tries, templates))
    for warning in current.plan.warnings:
        logging.getLogger("fairbench").warning("%s", warning)
    folder = out or _default(current.plan.card.name, current.plan.task, groups, current.set_id)
    if export.held(folder, current.set_id):
        return folder / data.MANIFEST
    return synthesize.write(synthesize.fill(current, store, progress), store, folder)


def _own(
    settings: Any, groups: str, per_group: int | None, images: Path, store: Store | None, out: Path | None,
    progress: Any,
) -> Path:  # fmt: skip
    from fairbench import catalog
    from fairbench.labeller import Labeller
    from fairbench.stages.plan import pick_device
    from fairbench.stages.prompts import expand
    from fairbench.train import data, export, own_folder, own_images
    from fairbench.train.confirm import attributes_of

    name = settings.labeller or catalog.load_model(settings.model).card.labeller
    labeller = Labeller(catalog.load_labeller(name), pick_device(settings.device))
    attributes = attributes_of(groups, labeller)
    table = images / own_folder.TABLE if images.is_dir() else images
    if table.is_file() or not images.is_dir():
        found = own_images.read(table, attributes)
    else:
        prompts = None if settings.task is None else expand(catalog.load_task(settings.task).card)
        found = own_folder.read(images, attributes, prompts)
    kept = found
    rates = None
    if store is not None:
        kept, rates = own_images.confirmed(found, attributes, labeller, store, progress)
    chosen = own_images.balanced(kept, attributes, per_group)
    asked = None if store is None else (labeller.card.name, labeller.id)
    own = own_images.OwnSet(attributes, chosen, len(found) - len(chosen), rates, asked)
    folder = out or _default(images.stem, groups, own.set_id)
    if export.held(folder, own.set_id):
        return folder / data.MANIFEST
    return own_images.write(own, folder, images)


def _default(*parts: str) -> Path:
    *names, set_id = parts
    safe = ["".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:60] for name in names]
    return Path("runs/balanced") / "-".join([*safe, set_id[:8]])


def _show(manifest: Path, as_json: bool, console: Console) -> None:
    """Print what the set holds, from the set itself: a set that was made before says the same."""
    from fairbench.report.rundir import LABEL_NOTE
    from fairbench.train import data

    held = data.read(manifest)
    record = json.loads(manifest.read_text(encoding="utf-8"))["provenance"]
    prompts = held.by_prompt()
    result = {
        "out": str(manifest.parent), "manifest": str(manifest), "set": record["set"], "digest": held.digest,
        "images": len(held.rows), "prompts": len(prompts), "groups": [list(group) for group in held.groups],
        "left_out": record.get("left_out", 0), "confirmation": record["confirmation"], "note": LABEL_NOTE,
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    if record["confirmation"] is not None:
        console.print(_table(record))
        console.print(
            "Share: of the first images of every prompt, before any was tried again (Jeffreys' 95 % interval).",
            style="dim", highlight=False, soft_wrap=True,
        )  # fmt: skip
    else:
        console.print("No labeller has looked at these images: their labels are what you say.", style="yellow")
    out = f"{result['left_out']} images are left out. " if result["left_out"] else ""
    console.print(
        f"{out}{len(held.rows)} images: {len(prompts)} prompts x {len(held.groups)} groups, in {manifest.parent}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(LABEL_NOTE, style="dim", highlight=False)


def _table(record: dict[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    source = record["model"]["name"] if "model" in record else record["origin"]
    title = f"{source} · confirmed by {record['labeller']['name']}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title)
    table.add_column("group", no_wrap=True)
    for name in ("share confirmed", "of\nfirst", "images", "con-\nfirmed", "other", "no\nface", "no\nimage"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in record["confirmation"]:
        table.add_row(
            " ".join(row["group"]),
            f"{row['share']:.2f} ({row['low']:.2f}-{row['high']:.2f})",
            *(str(row[kind]) for kind in ("of", "images", "confirmed", "other", "no_face", "no_image")),
        )
    return table
