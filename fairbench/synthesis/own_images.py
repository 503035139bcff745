"""A balanced set from images that somebody already has: a CSV that says which prompt and group each belongs to.

`own_folder` reads a folder that says the same by the names of its folders.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fairbench
from fairbench import keys
from fairbench.adapters.folder import FolderAdapter, FolderParams
from fairbench.cards.csvfile import IMAGE_IS_PATH, Columns, read_csv
from fairbench.cards.texts import nfc
from fairbench.display.progress import Progress
from fairbench.errors import CardError, ImageError
from fairbench.labelling.labeller import Labeller
from fairbench.networks import identity
from fairbench.runs.labels import LabelStage
from fairbench.storage import paths, pixels, provenance
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.synthesis import balanced, export
from fairbench.synthesis.balanced import Attributes, Row, by_cell, groups_of, need_all_groups
from fairbench.synthesis.confirm import Rate, rate, verdicts
from fairbench.types import ImageRequest

VERSION = 1
"""Raised whenever the same rows give another set."""


@dataclass(frozen=True)
class OwnSet:
    """The user's own images, as many of each group of a prompt. rates: None where no labeller looked at them."""

    attributes: dict[str, tuple[str, ...]]
    rows: list[Row]
    left_out: int
    rates: list[Rate] | None
    labeller: tuple[str, str] | None

    @property
    def set_id(self) -> str:
        """Id (32 hex digits) of the set: its rows, wherever the files lie."""
        rows = [[r.sha256, r.prompt, r.subject, r.group, r.source_prompt] for r in self.rows]
        return keys.digest("own-set", [VERSION, self.attributes, rows, self.labeller]).hex()


def read(path: Path, attributes: Attributes) -> list[Row]:
    """Read and check a CSV: path, prompt, a column per attribute; optionally subject and source_prompt.

    Images are named relative to the CSV. Raises CardError, naming the line, for a file that is absent or cannot be
    decoded, an unknown label, the same image twice under a prompt, and a group that a prompt lacks.
    """
    columns = Columns(("path", "prompt", *attributes), ("subject", "source_prompt"), aliases=IMAGE_IS_PATH)
    lines = read_csv(path, columns)
    return checked((_row(path, f"{path}, line {line}", cells, attributes) for line, cells in lines), path, attributes)


def checked(images: Iterable[Row], path: Path, attributes: Attributes) -> list[Row]:
    """Return the images.

    Raises CardError where there are none, the same one twice under a prompt or in two groups, or none of a prompt's
    group.
    """
    rows = list(images)
    if not rows:
        raise CardError(f"{path} has no images: a balanced set needs images of every group.")
    balanced.refuse_repeated((row.sha256, row) for row in rows)
    need_all_groups(rows, groups_of(attributes))
    return rows


def _row(path: Path, where: str, cells: Mapping[str, str], attributes: Attributes) -> Row:
    group = balanced.group_of_row(where, cells, attributes)
    if empty := next((name for name in ("path", "prompt") if not cells[name]), None):
        raise CardError(f"{where}, field {empty}: it is empty; fill it in or remove the row.")
    image = paths.file_of_row(path.parent, cells["path"], f"{where}, field path")
    sha256 = sha256_of(image, f"{where}, field path: ")
    prompt = nfc(cells["prompt"])
    return Row(image, sha256, prompt, cells.get("subject") or prompt, group, cells.get("source_prompt", ""), where)


def sha256_of(image: Path, where: str = "") -> str:
    """Return an image's sha256. Raises CardError, with `where` in front, for a file that cannot be decoded."""
    try:
        content, sha256 = pixels.read(image)
        pixels.decode(content, str(image))
    except ImageError as err:
        raise CardError(f"{where}{err}") from err
    return sha256


def confirmed(
    rows: Sequence[Row], attributes: Attributes, labeller: Labeller, store: Store, progress: Progress
) -> tuple[list[Row], list[Rate]]:
    """Return the rows that the labeller confirms, and how often each group was. Labels are kept in the store.

    Raises CardError where a prompt is left without images of a group.
    """
    image_key = keys.stage_key("images", identity.of_plugin("folder", FolderAdapter, FolderParams(path="."), None))
    faces_key = labeller.faces_key(image_key)
    labels_key = labeller.labels_key(faces_key)
    stored = [_image_row(row, image_key) for row in rows]
    images = {image.request.image_id: image for image in stored}
    LabelStage(store, labeller, faces_key, labels_key).run(list(images.values()), progress)
    image_groups = [(image, row.group) for image, row in zip(stored, rows, strict=True)]
    verdict_of = verdicts(store, labeller, faces_key, labels_key, tuple(attributes), image_groups)
    confirmed_rows = [row for row, verdict in zip(rows, verdict_of, strict=True) if verdict == "confirmed"]
    prompts = {row.prompt for row in confirmed_rows}
    if lost := next((row for row in rows if row.prompt not in prompts), None):
        raise CardError(
            f"{lost.where}: the labeller {labeller.card.name} confirms no image of the prompt {lost.prompt!r}: leave "
            "the prompt out."
        )
    need_all_groups(confirmed_rows, groups_of(attributes), kind="confirmed ")
    rates = []
    for group in groups_of(attributes):
        # Counted once: an image under several prompts is one image.
        by_image = {row.sha256: verdict for row, verdict in zip(rows, verdict_of, strict=True) if row.group == group}
        rates.append(rate(group, list(by_image.values()), list(by_image.values())))
    return confirmed_rows, rates


def _image_row(row: Row, image_key: str) -> ImageRow:
    """Return the image as the stages expect one; its id is its content, as for `--model folder:`."""
    prompt_id = keys.prompt_id(row.prompt)
    image_id = keys.file_image_id(image_key, prompt_id, 1, row.sha256)
    path = row.image.resolve()
    request = ImageRequest(image_id, prompt_id, prompt_id, row.prompt, 0, 0, str(path), row.sha256)
    return ImageRow(request, "ok", None, row.sha256, path)


def equal_groups(rows: Sequence[Row], attributes: Attributes, per_group: int | None, kind: str = "") -> list[Row]:
    """Return the first images of each group: `per_group`, else as many as the prompt's smallest group has.

    kind: "confirmed " where these are. Raises CardError where a group has fewer than `per_group`.
    """
    groups = groups_of(attributes)
    need_all_groups(rows, groups, per_group or 1, kind)
    chosen: list[Row] = []
    for cells in by_cell(rows).values():
        count = per_group or min(len(cells[group]) for group in groups)
        chosen += itertools.chain.from_iterable(cells[group][:count] for group in groups)
    return chosen


def write(own: OwnSet, out: Path, origin: Path) -> Path:
    """Copy the images, bytes unchanged, into the set's folder with rows and manifest; return the manifest's path.

    Copied, not referenced: the set can be moved, and stays what it was when the originals change.
    """
    copies: list[tuple[Row, Path]] = []
    for number, cells in enumerate(by_cell(own.rows).values()):
        for group, rows in cells.items():
            for index, row in enumerate(rows):
                suffix = row.image.suffix.lower() or ".img"
                name = export.image_name(number, row.subject, group, index, suffix)
                copies.append((dataclasses.replace(row, image=name), row.image))
    contents = ((row.image, _content(original, row.sha256)) for row, original in copies)
    return export.write(out, own.attributes, [row for row, _ in copies], contents, _record(own, origin))


def _content(path: Path, sha256: str) -> bytes:
    content, current = pixels.read(path)
    if current != sha256:
        raise CardError(f"{path} changed while it was in use: run the same command again.")
    return content


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
