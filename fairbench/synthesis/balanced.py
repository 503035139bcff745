"""The balanced set that training reads: neutral prompts, each with images of every declared group.

A folder with `manifest.json` (declared attributes and groups), `rows.csv` (one line an image) and, usually, the images.
A group is a tuple of labels in the order of the attributes. A manifest that lies is refused when it is read.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from fairbench import keys
from fairbench.cards.csvfile import read_csv
from fairbench.cards.textfile import read_text
from fairbench.errors import CardError
from fairbench.networks import weights
from fairbench.runs.folder import LABEL_NOTE
from fairbench.storage import atomic, paths

MANIFEST, ROWS = "manifest.json", "rows.csv"
VERSION: Literal[1] = 1
_COLUMNS = ("image", "sha256", "prompt", "subject")
Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One image. prompt: the neutral prompt that it answers. source_prompt: the one that it was made from, if any."""

    image: Path
    sha256: str
    prompt: str
    subject: str
    group: Group
    source_prompt: str = ""


@dataclass(frozen=True)
class Balanced:
    """A checked set. attributes: their ordered labels. groups: at least two; every prompt has an image of each."""

    attributes: dict[str, tuple[str, ...]]
    groups: tuple[Group, ...]
    rows: list[Row]

    @property
    def digest(self) -> str:
        """Hex id of what can change a training: labels, groups and rows; not where the files lie."""
        rows = [[r.sha256, r.prompt, r.subject, list(r.group), r.source_prompt] for r in self.rows]
        return keys.digest("balanced", [self.attributes, self.groups, rows]).hex()

    def by_prompt(self) -> dict[str, dict[Group, list[int]]]:
        """Return, for every prompt in order of first appearance, the indices of the rows of each declared group."""
        found: dict[str, dict[Group, list[int]]] = {}
        for index, row in enumerate(self.rows):
            found.setdefault(row.prompt, {group: [] for group in self.groups})[row.group].append(index)
        return found

    def margin(self, attributes: Sequence[str]) -> Balanced:
        """Return the same images grouped by fewer attributes. Raises CardError for one that the set does not have."""
        names = list(self.attributes)
        unknown = next((a for a in attributes if a not in names), None)
        if unknown is not None or not attributes:
            raise CardError(f"The balanced set has the attributes {', '.join(names)}, not {unknown!r}: name others.")
        places = [names.index(a) for a in attributes]

        def part(group: Group) -> Group:
            return tuple(group[i] for i in places)

        rows = [Row(r.image, r.sha256, r.prompt, r.subject, part(r.group), r.source_prompt) for r in self.rows]
        groups = tuple(dict.fromkeys(map(part, self.groups)))
        if len(groups) < 2:
            raise CardError(f"By {', '.join(attributes)} alone, the balanced set has one group: nothing to balance.")
        return Balanced({a: self.attributes[a] for a in attributes}, groups, rows)


class _Manifest(BaseModel):
    model_config = {"extra": "forbid", "strict": True}
    version: Literal[1] = Field(alias="fairbench.balanced")
    attributes: dict[str, list[str]] = Field(min_length=1)
    groups: list[dict[str, str]] = Field(min_length=2)
    rows: str
    note: str = LABEL_NOTE
    provenance: dict[str, Any] = Field(default_factory=dict)


def write(
    folder: Path, attributes: Mapping[str, Sequence[str]], groups: Sequence[Sequence[str]], rows: Sequence[Row],
    provenance: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Write rows and manifest (last) into `folder` and return the manifest's path.

    Images must exist; their paths are stored relative to the folder. Raises CardError for what `read` refuses.
    """
    folder = folder.resolve()
    table = io.StringIO()
    out = csv.writer(table, lineterminator="\n")
    out.writerow([*_COLUMNS, *attributes, "source_prompt"])
    for r in rows:
        image = Path(os.path.relpath(r.image.resolve(), folder)).as_posix()
        out.writerow([image, r.sha256, r.prompt, r.subject, *r.group, r.source_prompt])
    manifest = {
        "fairbench.balanced": VERSION,
        "attributes": {name: list(labels) for name, labels in attributes.items()},
        "groups": [dict(zip(attributes, group, strict=True)) for group in groups],
        "rows": ROWS,
        "note": LABEL_NOTE,
        "provenance": dict(provenance),
    }
    atomic.write_text(folder / ROWS, table.getvalue())
    _check(_parse(manifest, folder / MANIFEST), folder / MANIFEST)
    atomic.write_text(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return folder / MANIFEST


def read(path: Path) -> Balanced:
    """Read a manifest (or the folder that holds one) and check every row against its image file.

    Raises CardError, in one sentence that names file and row: a missing image, another sha256, a group that a prompt
    lacks, an undeclared group or label, an image that stands twice, or a file that cannot be read.
    """
    path = paths.expand(str(path))
    path = path / MANIFEST if paths.is_folder(path) else path
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as err:
        raise CardError(f"{path} is not JSON ({err}): name a manifest of a balanced set.") from err
    return _check(_parse(data, path), path)


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
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise CardError(f"{path}, field {place}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from err


def _check(manifest: _Manifest, path: Path) -> Balanced:
    attributes = {name: tuple(labels) for name, labels in manifest.attributes.items()}
    for name, labels in attributes.items():
        if len(set(labels)) != len(labels) or len(labels) < 2 or name in (*_COLUMNS, "source_prompt"):
            raise CardError(f"{path}, field attributes.{name}: two or more different labels, and a name of its own.")
    groups = _groups(manifest, attributes, path)
    table = path.parent / manifest.rows
    rows, lines = [], []
    for line, cells in read_csv(table, (*_COLUMNS, *attributes), ("source_prompt",)):
        rows.append(_row(f"{table}, line {line}", cells, attributes, groups, table.parent))
        lines.append(line)
    if not rows:
        raise CardError(f"{table} has no rows: a balanced set needs images of every group.")
    found = Balanced(attributes, tuple(groups), rows)
    _check_once(found, table, lines)
    for prompt, members in found.by_prompt().items():
        lacking = next((group for group, indices in members.items() if not indices), None)
        if lacking is not None:
            line = next(n for n, row in zip(lines, rows, strict=True) if row.prompt == prompt)
            raise CardError(
                f"{table}, line {line}: the prompt {prompt!r} has no image of the group {' '.join(lacking)}: "
                "add one, or leave the prompt out."
            )
    return found


def _groups(manifest: _Manifest, attributes: Mapping[str, tuple[str, ...]], path: Path) -> dict[Group, None]:
    groups: dict[Group, None] = {}
    for index, named in enumerate(manifest.groups):
        where = f"{path}, field groups.{index}"
        if set(named) != set(attributes):
            raise CardError(f"{where}: a group names each of {', '.join(attributes)}, and nothing else.")
        for name, labels in attributes.items():
            if named[name] not in labels:
                raise CardError(f"{where}: {named[name]!r} is not a declared label of {name} ({', '.join(labels)}).")
        group = tuple(named[name] for name in attributes)
        if group in groups:
            raise CardError(f"{where}: the group {' '.join(group)} stands twice; remove one.")
        groups[group] = None
    return groups


def _row(
    where: str, cells: Mapping[str, str], attributes: Mapping[str, tuple[str, ...]], groups: Mapping[Group, None],
    folder: Path,
) -> Row:  # fmt: skip
    for name, labels in attributes.items():
        if cells[name] not in labels:
            raise CardError(f"{where}: {cells[name]!r} is not a declared label of {name} ({', '.join(labels)}).")
    group = tuple(cells[name] for name in attributes)
    if group not in groups:
        raise CardError(f"{where}: the group {' '.join(group)} is not among the manifest's groups.")
    empty = next((column for column in _COLUMNS if not cells[column]), None)
    if empty is not None:
        raise CardError(f"{where}: the column {empty!r} is empty.")
    image = folder / cells["image"]
    if not image.is_file():
        raise CardError(f"{where}: the image {image} does not exist: put it back, or remove the row.")
    if weights.sha256(image) != cells["sha256"]:
        raise CardError(f"{where}: the image {image} does not have the sha256 that the row names.")
    return Row(image, cells["sha256"], cells["prompt"], cells["subject"], group, cells.get("source_prompt", ""))


def _check_once(found: Balanced, table: Path, lines: Sequence[int]) -> None:
    """Refuse an image that stands twice under one prompt, or under two groups."""
    seen: dict[tuple[str, str], int] = {}
    group_of: dict[str, tuple[Group, int]] = {}
    for line, row in zip(lines, found.rows, strict=True):
        image = os.path.realpath(row.image)
        first = seen.setdefault((image, row.prompt), line)
        group, other = group_of.setdefault(image, (row.group, line))
        if first != line:
            raise CardError(f"{table}, line {line}: the image {row.image} stands in line {first} already; remove one.")
        if group != row.group:
            raise CardError(
                f"{table}, line {line}: the image {row.image} is {' '.join(row.group)} here and {' '.join(group)} in "
                f"line {other}: an image has one group."
            )
