"""`fairbench synthesize`: a balanced set for training, from a model or from one's own images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairbench.cli.options import (
    AsJson,
    Device,
    Dtype,
    Quiet,
    Seed,
    StoreDir,
    calm_libraries,
    check_dtype,
)
from fairbench.display.plain import echo_json, say
from fairbench.errors import FairbenchError

if TYPE_CHECKING:
    from rich.console import Console

    from fairbench.display.tables import Table
    from fairbench.storage.store import Store

Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m",
        help="What makes the images: card name, card file, model folder, or ADAPTER:TARGET. [default: phantom]",
    ),
]  # fmt: skip
Task = Annotated[str | None, typer.Option("--task", "-t", help="Whose prompts training will see: name or folder.")]
Groups = Annotated[str, typer.Option("--groups", help="gender, race4, gender_x_race4: attributes of the labeller.")]
PerGroup = Annotated[
    int | None,
    typer.Option(
        "--per-group", "-n", min=1, max=20000,
        help="Confirmed images of each group, for each prompt. [default: 10; of --images: what the smallest group has]",
    ),
]  # fmt: skip
LabellerName = Annotated[
    str | None,
    typer.Option(
        "--labeller", "-l", help="Labeller: name or card file. [default: the model card's; of --images: fairface]"
    ),
]
Templates = Annotated[
    Path | None,
    typer.Option("--templates", help="Wordings instead of the task's own: a file, one a line, {subject} in each."),
]
Limit = Annotated[int | None, typer.Option("--limit-prompts", min=1, help="Only the first K prompts of the task.")]
MaxTries = Annotated[
    int | None,
    typer.Option("--max-tries", min=1, help="Give up a group at so many times --per-group. [default: 4]"),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the set. [default: runs/balanced/<set>]")]
Own = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Your own images instead of making any: a folder PROMPT/GROUP/image (with --task or --templates: "
        "SUBJECT/GROUP/image), a group being its labels, as in female-Asian; or a CSV (path, prompt, the attributes).",
    ),
]
Confirm = Annotated[bool, typer.Option("--confirm", help="With --images: keep those that the labeller confirms.")]
DEFAULT_PER_GROUP, DEFAULT_MAX_TRIES = 10, 4
SETS = Path("runs/balanced")


def synthesize(
    model: Model = None,
    task: Task = None,
    groups: Groups = "gender_x_race4",
    per_group: PerGroup = None,
    labeller: LabellerName = None,
    templates: Templates = None,
    limit_prompts: Limit = None,
    max_tries: MaxTries = None,
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
    """Make a balanced training set of confirmed images.

    Each neutral prompt gets confirmed images of every group. Stopped and started again, it goes on where it was.
    """
    from rich.console import Console

    from fairbench.cli.logs import set_up_logging
    from fairbench.display.progress import reporter
    from fairbench.runs.spec import RunSettings
    from fairbench.storage.store import Store

    console = Console(stderr=True)
    set_up_logging(console)
    calm_libraries()
    check_dtype(dtype)
    # A set of one's own images is judged as a run of --model folder: is, unless a model is named for its labeller.
    settings = RunSettings(model or ("phantom" if images is None else f"folder:{images}"), task, labeller=labeller,
                           limit_prompts=limit_prompts, seed=seed, device=device, dtype=dtype)  # fmt: skip
    progress = reporter(console, quiet)
    if images is None:
        if confirm:
            raise FairbenchError("--confirm belongs to --images: what a model makes is always confirmed.")
        manifest = _made(settings, groups, per_group or DEFAULT_PER_GROUP, max_tries or DEFAULT_MAX_TRIES, templates,
                         Store(store), out, progress)  # fmt: skip
    else:
        odd = {"--limit-prompts": limit_prompts, "--max-tries": max_tries, "--dtype": dtype, "--seed": seed or None}
        _refuse(images, odd)
        manifest = _own(settings, groups, per_group, templates, images, Store(store) if confirm else None, out,
                        progress)  # fmt: skip
    _show(manifest, as_json, Console())


def _made(
    settings: Any, groups: str, per_group: int, max_tries: int, templates: Path | None, store: Store,
    out: Path | None, progress: Any,
) -> Path:  # fmt: skip
    from fairbench.synthesis import balanced, export, from_model

    if settings.task is None:
        raise FairbenchError(
            "--task is missing: name the task whose prompts training will see, as in --task phantom-occupations-train."
        )
    current = from_model.make(from_model.SetSettings(settings, groups, per_group, max_tries, templates))
    folder = out or _default(current.plan.card.name, current.plan.task, groups, current.set_id)
    if export.held(folder, current.set_id):
        return folder / balanced.MANIFEST
    return from_model.write(from_model.fill(current, store, progress), store, folder)


def _refuse(images: Path, given: dict[str, Any]) -> None:
    odd = next((flag for flag, value in given.items() if value is not None), None)
    if odd:
        raise FairbenchError(f"{odd} says what a model is to make: with --images {images}, leave it out.")


def _own(
    settings: Any, groups: str, per_group: int | None, templates: Path | None, images: Path, store: Store | None,
    out: Path | None, progress: Any,
) -> Path:  # fmt: skip
    from fairbench.cards import catalog
    from fairbench.labelling.labeller import Labeller
    from fairbench.runs.device import pick_device
    from fairbench.synthesis import balanced, export, own_images
    from fairbench.synthesis.confirm import attributes_of

    if images.is_dir() and (out or SETS).resolve().is_relative_to(images.resolve()):
        raise FairbenchError(f"--out {out or SETS} lies inside --images {images}: name a folder outside of it.")
    name = settings.labeller or catalog.load_model(settings.model).card.labeller
    labeller = Labeller(catalog.load_labeller(name), pick_device(settings.device))
    attributes = attributes_of(groups, labeller)
    found = _read(images, attributes, settings.task, templates)
    kept, rates, asked = found, None, None
    if store is not None:
        kept, rates = own_images.confirmed(found, attributes, labeller, store, progress)
        asked = (labeller.card.name, labeller.id)
    chosen = own_images.balanced(kept, attributes, per_group, "" if store is None else "confirmed ")
    own = own_images.OwnSet(attributes, chosen, len(found) - len(chosen), rates, asked)
    folder = out or _default(images.resolve().stem, groups, own.set_id)
    if export.held(folder, own.set_id):
        return folder / balanced.MANIFEST
    return own_images.write(own, folder, images)


def _read(images: Path, attributes: dict[str, tuple[str, ...]], task: str | None, templates: Path | None) -> Any:
    from fairbench.cards import catalog
    from fairbench.runs.prompts import expand
    from fairbench.synthesis import own_folder, own_images
    from fairbench.synthesis.wordings import read_templates

    table = images / own_folder.TABLE if images.is_dir() else images
    if table.exists():
        _refuse(table, {"--task": task, "--templates": templates})  # its rows have prompts
        return own_images.read(table, attributes)
    if not images.exists():
        raise FairbenchError(f"--images {images}: there is no such file or folder; name a folder of images or a CSV.")
    prompts = None if task is None else expand(catalog.load_task(task).card)
    return own_folder.read(images, attributes, prompts, None if templates is None else read_templates(templates))


def _default(*parts: str) -> Path:
    *names, set_id = parts
    safe = ["".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:60] for name in names]
    return SETS / "-".join([*safe, set_id[:8]])


def _show(manifest: Path, as_json: bool, console: Console) -> None:
    """Print what the set holds, from the set itself: a set that was made before says the same."""
    from fairbench.display.note import LABEL_NOTE
    from fairbench.synthesis import balanced

    held = balanced.read(manifest)
    record = json.loads(manifest.read_text(encoding="utf-8"))["provenance"]
    prompts = held.by_prompt()
    result = {
        "out": str(manifest.parent), "manifest": str(manifest), "set": record["set"], "digest": held.digest,
        "images": len(held.rows), "prompts": len(prompts), "groups": [list(group) for group in held.groups],
        "left_out": record.get("left_out", 0), "confirmation": record["confirmation"], "note": LABEL_NOTE,
    }  # fmt: skip
    if as_json:
        echo_json(result)
        return
    if record["confirmation"] is not None:
        _table(record).show(console)
    else:
        say(console, "No labeller has looked at these images: their labels are what you say. --confirm asks one.",
            "yellow")  # fmt: skip
    sizes = {len(members) for groups in prompts.values() for members in groups.values()}
    each = f" x {min(sizes)} each" if len(sizes) == 1 else ""
    out = f" ({result['left_out']} left out)" if result["left_out"] else ""
    held_words = f"{len(held.rows)} images: {len(prompts)} prompts x {len(held.groups)} groups{each}"
    say(console, f"{held_words}, in {manifest.parent}{out}", wrap=False)
    say(console, LABEL_NOTE, "dim")


def _table(record: dict[str, Any]) -> Table:
    from fairbench.display.numbers import with_interval
    from fairbench.display.tables import Column, Table, numbers

    made = "model" in record
    title = f"{record['model']['name'] if made else record['origin']} · confirmed by {record['labeller']['name']}"
    of = "the first images of every prompt, before any was tried again" if made else "your images, each counted once"
    heads = (
        "share confirmed",
        "of\nfirst" if made else "of",
        "images",
        "con-\nfirmed",
        "other",
        "no\nface",
        "no\nimage",
    )
    table = Table([Column("group"), *numbers(*heads)], title, f"Share: of {of} (Jeffreys' 95 % interval).")
    for row in record["confirmation"]:
        table.add(
            " ".join(row["group"]),
            with_interval(row["share"], row["low"], row["high"], 2),
            *(str(row[kind]) for kind in ("of", "images", "confirmed", "other", "no_face", "no_image")),
        )
    return table
