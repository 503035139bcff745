"""The balanced set that training reads: neutral prompts, each with images of every declared group.

A folder with `manifest.json` (declared attributes and groups), `rows.csv` (one line per image) and, usually, images. A
group is a tuple of labels in the order of the attributes. A manifest that does not match its files is refused.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from fairbench import keys
from fairbench.cards.csvfile import IMAGE_IS_PATH, Columns, read_csv
from fairbench.cards.textfile import read_text
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import CardError
from fairbench.networks import weights
from fairbench.storage import atomic, paths

MANIFEST, ROWS = "manifest.json", "rows.csv"
VERSION: Literal[1] = 1
_COLUMNS = ("path", "sha256", "prompt", "subject")
_RESERVED = (*_COLUMNS, *IMAGE_IS_PATH, "source_prompt")
Attributes = Mapping[str, Sequence[str]]
"""Attribute -> its declared labels, in order."""
Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One image. prompt: the neutral prompt that it answers. source_prompt: the one that it was made from, if any.

    where: what an error about the image names: file and line of the table, or the image itself.
    """

    image: Path
    sha256: str
    prompt: str
    subject: str
    group: Group
    source_prompt: str = ""
    where: str = ""


@dataclass(frozen=True)
class Balanced:
    """A checked set. attributes: their ordered labels. groups: at least two; every prompt has an image of each.

    provenance: what the manifest says of where the images come from.
    """

    attributes: dict[str, tuple[str, ...]]
    groups: tuple[Group, ...]
    rows: list[Row]
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> str:
        """Hex id of what can change a training: labels, groups and rows; not where the files lie."""
        rows = [[r.sha256, r.prompt, r.subject, list(r.group), r.source_prompt] for r in self.rows]
        return keys.digest("balanced", [self.attributes, self.groups, rows]).hex()

    def by_prompt(self) -> dict[str, dict[Group, list[int]]]:
        """Return, for every prompt in order of first appearance, the indices of the rows of each declared group."""
        indices: dict[str, dict[Group, list[int]]] = {}
        for index, row in enumerate(self.rows):
            indices.setdefault(row.prompt, {group: [] for group in self.groups})[row.group].append(index)
        return indices

    def margin(self, attributes: Sequence[str]) -> Balanced:
        """Return the same images grouped by fewer attributes. Raises CardError for one that the set does not have."""
        names = list(self.attributes)
        unknown = next((a for a in attributes if a not in names), None)
        if unknown is not None or not attributes:
            raise CardError(f"The balanced set has the attributes {', '.join(names)}, not {unknown!r}: name others.")
        axes = [names.index(a) for a in attributes]

        def marginal(group: Group) -> Group:
            return tuple(group[axis] for axis in axes)

        rows = [dataclasses.replace(row, group=marginal(row.group)) for row in self.rows]
        groups = tuple(dict.fromkeys(map(marginal, self.groups)))
        if len(groups) < 2:
            raise CardError(f"By {', '.join(attributes)} alone, the balanced set has one group: nothing to balance.")
        return Balanced({a: self.attributes[a] for a in attributes}, groups, rows, self.provenance)


def groups_of(attributes: Attributes) -> list[Group]:
    """Return every combination of labels, the last attribute's changing fastest."""
    return list(itertools.product(*attributes.values()))


# --- writing ---


class _Manifest(BaseModel):
    model_config = {"extra": "forbid", "strict": True}
    version: Literal[1] = Field(alias="fairbench.balanced")
    attributes: dict[str, list[str]] = Field(min_length=1)
    groups: list[dict[str, str]] = Field(min_length=2)
    rows: str
    note: str = LABEL_NOTE
    provenance: dict[str, Any] = Field(default_factory=dict)


def write(
    folder: Path, attributes: Attributes, groups: Sequence[Group], rows: Sequence[Row], provenance: Mapping[str, Any]
) -> Path:
    """Write rows and manifest (last) into `folder` and return the manifest's path.

    Images must exist; their paths are stored relative to the folder. Raises CardError for what `read` refuses.
    """
    folder = folder.resolve()
    table = [[*_COLUMNS, *attributes, "source_prompt"]]
    for row in rows:
        image = Path(os.path.relpath(row.image.resolve(), folder)).as_posix()
        table.append([image, row.sha256, row.prompt, row.subject, *row.group, row.source_prompt])
    manifest = {
        "fairbench.balanced": VERSION,
        "attributes": {name: list(labels) for name, labels in attributes.items()},
        "groups": [dict(zip(attributes, group, strict=True)) for group in groups],
        "rows": ROWS,
        "note": LABEL_NOTE,
        "provenance": dict(provenance),
    }
    atomic.write_text(folder / ROWS, atomic.csv_text(table))
    _checked(_parse(manifest, folder / MANIFEST), folder / MANIFEST)
    atomic.write_text(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return folder / MANIFEST


# --- reading ---


def read(path: Path) -> Balanced:
    """Read a manifest (or the folder that holds one) and check every row against its image file.

    Raises CardError, in one sentence that names file and row: a missing image, another sha256, a group that a prompt
    lacks, an undeclared group or label, an image that is listed twice, or a file that cannot be read.
    """
    path = paths.expand(str(path))
    path = path / MANIFEST if paths.is_folder(path) else path
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as err:
        raise CardError(f"{path} is not JSON ({err}): name a manifest of a balanced set.") from err
    return _checked(_parse(data, path), path)


def _parse(data: Any, path: Path) -> _Manifest:
    if isinstance(data, dict) and data.get("fairbench.balanced", VERSION) != VERSION:
        raise CardError(
            f"{path}, field fairbench.balanced: this is version {data['fairbench.balanced']!r} of the format, and "
            f"version {VERSION} is known: use the fairbench that wrote it."
        )
    try:
        return _Manifest.model_validate(data)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise CardError(f"{path}, field {where}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from err


def _checked(manifest: _Manifest, path: Path) -> Balanced:
    attributes = {name: tuple(labels) for name, labels in manifest.attributes.items()}
    for name, labels in attributes.items():
        if len(set(labels)) != len(labels) or len(labels) < 2 or name in _RESERVED:
            raise CardError(f"{path}, field attributes.{name}: two or more different labels, and a name of its own.")
    groups = _groups(manifest, attributes, path)
    table = path.parent / manifest.rows
    lines = read_csv(table, Columns((*_COLUMNS, *attributes), ("source_prompt",), aliases=IMAGE_IS_PATH))
    rows = [_row(f"{table}, line {line}", cells, attributes, groups, table.parent) for line, cells in lines]
    if not rows:
        raise CardError(f"{table} has no rows: a balanced set needs images of every group.")
    refuse_repeated([(os.path.realpath(row.image), row) for row in rows])
    need_all_groups(rows, groups)
    return Balanced(attributes, tuple(groups), rows, manifest.provenance)


def _groups(manifest: _Manifest, attributes: Attributes, path: Path) -> list[Group]:
    groups: list[Group] = []
    for index, labels in enumerate(manifest.groups):
        where = f"{path}, field groups.{index}"
        if set(labels) != set(attributes):
            raise CardError(f"{where}: a group names each of {', '.join(attributes)}, and nothing else.")
        group = group_of_row(where, labels, attributes)
        if group in groups:
            raise CardError(f"{where}: the group {' '.join(group)} is listed twice; remove one.")
        groups.append(group)
    return groups


def group_of_row(where: str, cells: Mapping[str, str], attributes: Attributes) -> Group:
    """Return the labels of a row's attributes. Raises CardError for a label that is not declared."""
    for name, labels in attributes.items():
        if cells[name] not in labels:
            raise CardError(f"{where}, field {name}: {cells[name]!r} is none of its labels ({', '.join(labels)}).")
    return tuple(cells[name] for name in attributes)


def _row(where: str, cells: Mapping[str, str], attributes: Attributes, groups: Sequence[Group], folder: Path) -> Row:
    group = group_of_row(where, cells, attributes)
    if group not in groups:
        raise CardError(f"{where}: the group {' '.join(group)} is not among the manifest's groups.")
    if empty := next((column for column in _COLUMNS if not cells[column]), None):
        raise CardError(f"{where}: the column {empty!r} is empty.")
    image = folder / cells["path"]
    if not image.is_file():
        raise CardError(f"{where}: the image {image} does not exist: put it back, or remove the row.")
    if weights.sha256(image) != cells["sha256"]:
        raise CardError(f"{where}: the image {image} does not have the sha256 that the row names.")
    return Row(image, cells["sha256"], cells["prompt"], cells["subject"], group, cells.get("source_prompt", ""), where)


def refuse_repeated(rows: Iterable[tuple[str, Row]]) -> None:
    """Raise CardError for an image that is listed twice under one prompt, or under two groups.

    rows: each with what identifies its image.
    """
    first_of_prompt: dict[tuple[str, str], Row] = {}
    first_of_image: dict[str, Row] = {}
    for image, row in rows:
        first = first_of_prompt.setdefault((row.prompt, image), row)
        if first is not row:
            raise CardError(f"{row.where}: the image {row.image} is listed in {first.where} already; remove one.")
        first = first_of_image.setdefault(image, row)
        if first.group != row.group:
            raise CardError(
                f"{row.where}: the image {row.image} is {' '.join(row.group)} here and {' '.join(first.group)} in "
                f"{first.where}: an image has one group."
            )


def by_cell(rows: Iterable[Row]) -> dict[str, dict[Group, list[Row]]]:
    """Return the rows by prompt and group, in order of first appearance."""
    cells: dict[str, dict[Group, list[Row]]] = {}
    for row in rows:
        cells.setdefault(row.prompt, {}).setdefault(row.group, []).append(row)
    return cells


def need_all_groups(rows: Iterable[Row], groups: Iterable[Group], count: int = 1, kind: str = "") -> None:
    """Raise CardError where a prompt has fewer than `count` images of a group. kind: "confirmed " where these are."""
    for prompt, cells in by_cell(rows).items():
        if lacking := next((group for group in groups if len(cells.get(group, [])) < count), None):
            nearest = cells.get(lacking) or next(iter(cells.values()))
            fix = ", lower --per-group" if count > 1 else ""
            raise CardError(
                f"{nearest[0].where}: the prompt {prompt!r} has {len(cells.get(lacking, []))} {kind}images of the "
                f"group {' '.join(lacking)}, {count} are needed: add some{fix}, or leave the prompt out."
            )
