"""A balanced set from images that somebody already has: a CSV that says which prompt and group each belongs to.

`own_folder` reads a folder that says the same by the names of its folders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fairbench
from fairbench import keys
from fairbench.adapters.folder import FolderAdapter, FolderParams
from fairbench.cards.csvfile import IMAGE_IS_PATH, read_csv
from fairbench.cards.texts import nfc
from fairbench.errors import CardError, ImageError
from fairbench.labelling.labeller import Labeller
from fairbench.networks import identity
from fairbench.progress import Progress
from fairbench.runs.labels import LabelStage
from fairbench.storage import paths, pixels, provenance
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.synthesis import export
from fairbench.synthesis.balanced import Group, Row
from fairbench.synthesis.confirm import Rate, groups_of, rate, verdicts
from fairbench.types import ImageRequest

VERSION = 1
"""Raised whenever the same rows give another set."""


@dataclass(frozen=True, slots=True)
class OwnImage:
    """A checked image. where: file and line of the CSV, or the image itself where its folder says the same."""

    where: str
    path: Path
    sha256: str
    prompt: str
    subject: str
    group: Group
    source_prompt: str


@dataclass(frozen=True)
class OwnSet:
    """Images of one's own, as many of each group of a prompt. rates: None where no labeller was asked."""

    attributes: dict[str, tuple[str, ...]]
    images: list[OwnImage]
    left_out: int
    rates: list[Rate] | None
    labeller: tuple[str, str] | None

    @property
    def groups(self) -> list[Group]:
        """The declared groups, in order."""
        return groups_of(self.attributes)

    @property
    def set_id(self) -> str:
        """Id (32 hex digits) of the set: its rows, wherever the files lie."""
        rows = [[i.sha256, i.prompt, i.subject, i.group, i.source_prompt] for i in self.images]
        return keys.digest("own-set", [VERSION, self.attributes, rows, self.labeller]).hex()


def read(path: Path, attributes: Mapping[str, Sequence[str]]) -> list[OwnImage]:
    """Read and check a CSV: path, prompt, a column an attribute; optionally subject and source_prompt.

    Images are named relative to the CSV. Raises CardError, naming the line, for a file that is absent or cannot be
    decoded, an unknown label, the same picture twice under a prompt, and a group that a prompt lacks.
    """
    rows = read_csv(path, ("path", "prompt", *attributes), ("subject", "source_prompt"), aliases=IMAGE_IS_PATH)
    return checked((_row(path, f"{path}, line {line}", cells, attributes) for line, cells in rows), path, attributes)


def checked(images: Iterable[OwnImage], path: Path, attributes: Mapping[str, Sequence[str]]) -> list[OwnImage]:
    """Return the images.

    Raises CardError where there are none, twice the same, one in two groups, or none of a prompt's group.
    """
    found: list[OwnImage] = []
    first: dict[tuple[str, str], OwnImage] = {}
    shown: dict[str, OwnImage] = {}
    for own in images:
        other = first.setdefault((own.prompt, own.sha256), own)
        if other is not own:
            raise CardError(f"{own.where}: the same picture stands in {other.where} already; remove one.")
        before = shown.setdefault(own.sha256, own)
        if before.group != own.group:
            raise CardError(
                f"{own.where}: the same picture is {' '.join(before.group)} in {before.where}, and "
                f"{' '.join(own.group)} here: an image has one group."
            )
        found.append(own)
    if not found:
        raise CardError(f"{path} has no images: a balanced set needs images of every group.")
    _need_all_groups(found, groups_of(attributes), 1)
    return found


def _row(path: Path, where: str, cells: Mapping[str, str], attributes: Mapping[str, Sequence[str]]) -> OwnImage:
    for name, labels in attributes.items():
        if cells[name] not in labels:
            raise CardError(f"{where}, field {name}: {cells[name]!r} is none of its labels ({', '.join(labels)}).")
    empty = next((name for name in ("path", "prompt") if not cells[name]), None)
    if empty is not None:
        raise CardError(f"{where}, field {empty}: it is empty; fill it in or remove the row.")
    image = paths.file_of_row(path.parent, cells["path"], f"{where}, field path")
    sha256 = known_by(image, f"{where}, field path: ")
    group = tuple(cells[name] for name in attributes)
    prompt = nfc(cells["prompt"])
    return OwnImage(where, image, sha256, prompt, cells.get("subject") or prompt, group, cells.get("source_prompt", ""))


def known_by(image: Path, where: str = "") -> str:
    """Return an image's sha256. Raises CardError, with `where` in front, for what cannot be decoded."""
    try:
        content, sha256 = pixels.read(image)
        pixels.decode(content, str(image))
    except ImageError as err:
        raise CardError(f"{where}{err}") from err
    return sha256


def _by_cell(images: Sequence[OwnImage]) -> dict[str, dict[Group, list[OwnImage]]]:
    found: dict[str, dict[Group, list[OwnImage]]] = {}
    for own in images:
        found.setdefault(own.prompt, {}).setdefault(own.group, []).append(own)
    return found


def _need_all_groups(images: Sequence[OwnImage], groups: Sequence[Group], least: int, which: str = "") -> None:
    for prompt, cells in _by_cell(images).items():
        lacking = next((g for g in groups if len(cells.get(g, [])) < least), None)
        if lacking is not None:
            where = (cells.get(lacking) or next(iter(cells.values())))[0].where
            fewer = ", lower --per-group" if least > 1 else ""
            raise CardError(
                f"{where}: the prompt {prompt!r} has {len(cells.get(lacking, []))} {which}images of the group "
                f"{' '.join(lacking)}, {least} are needed: add some{fewer}, or leave the prompt out."
            )


def confirmed(
    images: Sequence[OwnImage], attributes: Mapping[str, Sequence[str]], labeller: Labeller, store: Store,
    progress: Progress,
) -> tuple[list[OwnImage], list[Rate]]:  # fmt: skip
    """Return the images that the labeller confirms, and how often each group was. Labels are kept in the store.

    Raises CardError where a prompt is left without images of a group.
    """
    image_key = keys.stage_key("images", identity.of_plugin("folder", FolderAdapter, FolderParams(path="."), None))
    faces_key = labeller.faces_key(image_key)
    labels_key = labeller.labels_key(faces_key)
    rows = [_stored_row(own, image_key) for own in images]
    once = list({row.request.image_id: row for row in rows}.values())
    LabelStage(store, labeller, faces_key, labels_key).run(once, progress)
    pairs = [(row, own.group) for row, own in zip(rows, images, strict=True)]
    found = verdicts(store, labeller, faces_key, labels_key, tuple(attributes), pairs)
    kept = [own for own, verdict in zip(images, found, strict=True) if verdict == "confirmed"]
    left = {own.prompt for own in kept}
    lost = next((own for own in images if own.prompt not in left), None)
    if lost is not None:
        raise CardError(
            f"{lost.where}: the labeller {labeller.card.name} confirms no image of the prompt {lost.prompt!r}: leave "
            "the prompt out."
        )
    _need_all_groups(kept, groups_of(attributes), 1, "confirmed ")
    rates = []
    for group in groups_of(attributes):
        # Once each: an image that stands under several prompts is one image.
        own = {image.sha256: v for image, v in zip(images, found, strict=True) if image.group == group}
        rates.append(rate(group, list(own.values()), list(own.values())))
    return kept, rates


def _stored_row(own: OwnImage, image_key: str) -> ImageRow:
    """Return the image as the stages know one; its id is its content, as for `--model folder:`."""
    prompt_id = keys.prompt_id(own.prompt)
    image_id = keys.file_image_id(image_key, prompt_id, 1, own.sha256)
    path = own.path.resolve()
    request = ImageRequest(image_id, prompt_id, prompt_id, own.prompt, 0, 0, str(path), own.sha256)
    return ImageRow(request, "ok", None, own.sha256, path)


def balanced(
    images: Sequence[OwnImage], attributes: Mapping[str, Sequence[str]], per_group: int | None, which: str = ""
) -> list[OwnImage]:
    """Return the first images of each group: `per_group`, else as many as the prompt's smallest group has.

    which: "confirmed " where these are. Raises CardError where a group has fewer than `per_group`.
    """
    groups = groups_of(attributes)
    _need_all_groups(images, groups, per_group or 1, which)
    found: list[OwnImage] = []
    for cells in _by_cell(images).values():
        count = per_group or min(len(cells[g]) for g in groups)
        found += itertools.chain.from_iterable(cells[g][:count] for g in groups)
    return found


def write(own: OwnSet, out: Path, origin: Path) -> Path:
    """Copy the images, bytes as they are, into the set's folder with rows and manifest; return the manifest's path.

    Copied, not referenced: the set can be moved, and stays what it was when the originals change.
    """
    numbers = {prompt: n for n, prompt in enumerate(dict.fromkeys(i.prompt for i in own.images))}
    counts: dict[tuple[str, Group], int] = {}
    rows: list[Row] = []
    for image in own.images:
        index = counts.setdefault((image.prompt, image.group), 0)
        counts[image.prompt, image.group] += 1
        suffix = image.path.suffix.lower() or ".img"
        name = export.image_name(numbers[image.prompt], image.subject, image.group, index, suffix)
        rows.append(Row(name, image.sha256, image.prompt, image.subject, image.group, image.source_prompt))
    contents = _contents([r.image for r in rows], own.images)
    return export.write(out, own.attributes, own.groups, rows, contents, _record(own, origin))


def _contents(names: Sequence[Path], images: Sequence[OwnImage]) -> Iterator[tuple[Path, bytes]]:
    for name, image in zip(names, images, strict=True):
        content, sha256 = pixels.read(image.path)
        if sha256 != image.sha256:
            raise CardError(f"{image.path} changed while it was in use: run the same command again.")
        yield name, content


def _record(own: OwnSet, origin: Path) -> dict[str, Any]:
    return {
        "set": own.set_id,
        "made_by": "fairbench synthesize --images",
        "fairbench": fairbench.__version__,
        "origin": origin.resolve().name,
        "left_out": own.left_out,
        "labeller": None if own.labeller is None else dict(zip(("name", "id"), own.labeller, strict=True)),
        "confirmation": None if own.rates is None else [r.record() for r in own.rates],
        "environment": provenance.environment("cpu"),
    }
