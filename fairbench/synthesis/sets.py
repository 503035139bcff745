"""Balanced sets as `fairbench synthesize` makes them: by a model, or of the user's own images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.cards import catalog
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.runs.arguments import RunSettings
from fairbench.runs.device import pick_device
from fairbench.runs.prompts import expand
from fairbench.storage.store import Store
from fairbench.synthesis import balanced, export, from_model, own_folder, own_images
from fairbench.synthesis.confirm import attributes_of
from fairbench.synthesis.wordings import read_templates

FOLDER: Final = Path("runs/balanced")
"""Where sets lie whose folder is not named."""


def by_model(settings: from_model.SetSettings, store: Store, out: Path | None, progress: Progress) -> Path:
    """Return the manifest of the set that the settings declare, made unless it is there. Raises FairbenchError."""
    if settings.run.task is None:
        raise FairbenchError(
            "--task is missing: name the task whose prompts training will see, as in --task phantom-occupations-train."
        )
    synthesis = from_model.make(settings)
    folder = out or _folder(synthesis.plan.card.name, synthesis.plan.task, settings.groups, set_id=synthesis.set_id)
    if export.held(folder, synthesis.set_id):
        return folder / balanced.MANIFEST
    return from_model.write(from_model.fill(synthesis, store, progress), store, folder)


def of_own_images(
    images: Path,
    settings: RunSettings,
    groups: str,
    per_group: int | None,
    templates: Path | None,
    store: Store | None,
    out: Path | None,
    progress: Progress,
) -> Path:
    """Return the manifest of a set of the user's images, made unless it is there. Raises FairbenchError.

    images: a folder or a CSV. per_group: images of each group for each prompt; None: as many as the smallest group has.
    templates: a file of wordings. store: of the labels that confirm the images; None: they are not confirmed.
    """
    if images.is_dir() and (out or FOLDER).resolve().is_relative_to(images.resolve()):
        raise FairbenchError(f"--out {out or FOLDER} lies inside --images {images}: name a folder outside of it.")
    name = settings.labeller or catalog.load_model(settings.model).card.labeller
    labeller = Labeller(catalog.load_labeller(name), pick_device(settings.device))
    if store is not None:
        labeller.refuse_sending(f"the images in {images}")
    attributes = attributes_of(groups, labeller)
    labelled = _read(images, attributes, settings.task, templates)
    usable, rates, confirmed_by, adjective = labelled, None, None, ""
    if store is not None:
        usable, rates = own_images.confirmed(labelled, attributes, labeller, store, progress)
        confirmed_by, adjective = (labeller.card.name, labeller.id), "confirmed "
    chosen = own_images.equal_groups(usable, attributes, per_group, adjective)
    own = own_images.OwnSet(attributes, chosen, len(labelled) - len(chosen), rates, confirmed_by)
    folder = out or _folder(images.resolve().stem, groups, set_id=own.set_id)
    if export.held(folder, own.set_id):
        return folder / balanced.MANIFEST
    return own_images.write(own, folder, images)


def refuse_options_of_models(images: Path, options: Mapping[str, object]) -> None:
    """Raise FairbenchError for an option (name -> value, None: not given) that says what a model is to make."""
    if option := next((name for name, value in options.items() if value is not None), None):
        raise FairbenchError(f"{option} says what a model is to make: with --images {images}, leave it out.")


def _read(images: Path, attributes: dict[str, tuple[str, ...]], task: str | None, templates: Path | None) -> Any:
    table = images / own_folder.TABLE if images.is_dir() else images
    if table.exists():
        refuse_options_of_models(table, {"--task": task, "--templates": templates})  # its rows have prompts
        return own_images.read(table, attributes)
    if not images.exists():
        raise FairbenchError(f"--images {images}: there is no such file or folder; name a folder of images or a CSV.")
    prompts = None if task is None else expand(catalog.load_task(task).card)
    return own_folder.read(images, attributes, prompts, None if templates is None else read_templates(templates))


def _folder(*names: str, set_id: str) -> Path:
    safe = ["".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:60] for name in names]
    return FOLDER / "-".join([*safe, set_id[:8]])
