"""Manifests of images whose truth is known: what a labeller's errors are counted on.

A CSV with the columns `image` (relative to the manifest, or absolute), one a labeller's attribute, and optionally
`person` (an id) and `sha256` (of the image's file). `path` is another name of `image`; columns that nothing reads are
reported by a notice, and a misspelt name is an error.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairbench import registry
from fairbench.cards.csvfile import PATH_OR_IMAGE, read_csv
from fairbench.errors import CardError, ImageError
from fairbench.labelling.confusion import NO_PERSON, Cell
from fairbench.labelling.labeller import LabelSpace
from fairbench.progress import Progress, stage
from fairbench.storage import paths, pixels

IMAGE: Final = "image"
PERSON: Final = "person"
SHA256: Final = "sha256"
_NOBODY: Final = NO_PERSON[0]


@dataclass(frozen=True, slots=True)
class KnownImage:
    """One line of a manifest. cell: the true labels, or NO_PERSON. person: an id, "" where none is given.

    sha256: of the file, in hex; "" where the manifest gives none and the file was not read yet.
    """

    line: int
    path: Path
    cell: Cell
    person: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class KnownImages:
    """A checked manifest. attributes: in the card's order. cells: all combinations of their labels, the last attribute
    changing fastest, then NO_PERSON where images show nobody. images: in the order of their lines, none without a
    sha256.
    """

    file: Path
    attributes: tuple[str, ...]
    cells: tuple[Cell, ...]
    images: tuple[KnownImage, ...]

    def one_a_person(self) -> KnownImages:
        """Return the manifest with one image a person, whatever the order of its lines; images of nobody all stay.

        The image kept is that with the smallest sha256 of (person, sha256 of the file).
        """
        kept = dict[str, KnownImage]()
        for image in self.images:
            kept[image.person] = min(kept.get(image.person, image), image, key=_lot)
        return replace(self, images=tuple(i for i in self.images if not i.person or kept[i.person] is i))


def read(path: Path, space: LabelSpace, progress: Progress) -> KnownImages:
    """Read a manifest and look at every file that it names, one at a time.

    Raises CardError, naming file, line, field and fix, for whatever does not hold: an unknown label or column, an empty
    field, an image that is missing, cannot be decoded, has another sha256 or stands twice, a person with two different
    labels, or a combination of labels that no line has (its row of the table would be empty).
    """
    attributes, images = _parsed(path, space)
    labels = [space.declared.labels[a] for a in attributes]
    people = tuple(itertools.product(*labels))
    _refuse_empty_rows(path, dict(zip(attributes, labels, strict=True)), people, {i.cell for i in images})
    nobody = (NO_PERSON,) if any(i.cell == NO_PERSON for i in images) else ()
    return KnownImages(path, attributes, people + nobody, tuple(_looked_at(path, images, progress)))


def _parsed(path: Path, space: LabelSpace) -> tuple[tuple[str, ...], list[KnownImage]]:
    attributes, images, first = tuple[str, ...](), list[KnownImage](), dict[str, KnownImage]()
    for line, row in read_csv(path, (IMAGE,), (PERSON, SHA256, *space.declared.labels), aliases=PATH_OR_IMAGE):
        attributes = attributes or _attributes(path, row, space)
        image = _image(path, line, row, {a: space.declared.labels[a] for a in attributes})
        earlier = first.setdefault(image.person, image) if image.person else image
        if earlier.cell != image.cell:
            raise CardError(
                f"{path}, line {line}, field {PERSON}: {image.person!r} is {' '.join(image.cell)} here and "
                f"{' '.join(earlier.cell)} in line {earlier.line}; mend the labels or the id."
            )
        images.append(image)
    if not images:
        raise CardError(f"{path} holds no rows: add one for each image.")
    return attributes, images


def _attributes(path: Path, header: Iterable[str], space: LabelSpace) -> tuple[str, ...]:
    """Return the attributes that have a column, in the card's order."""
    header, declared = list(header), space.declared.labels
    found = tuple(name for name in declared if name in header)
    if not found:
        raise CardError(f"{path}, line 1: no column is an attribute of {space.card.name}; add {' or '.join(declared)}.")
    sources = [space.card.attributes[name].source or name for name in found]
    for (i, one), (j, other) in itertools.combinations(enumerate(found), 2):
        if sources[i] == sources[j]:
            raise CardError(f"{path}, line 1, field {other}: it tells the same as {one}; leave one of the two out.")
    return found


def _image(path: Path, line: int, row: Mapping[str, str], labels: Mapping[str, Sequence[str]]) -> KnownImage:
    where = f"{path}, line {line}, field"
    for name in (IMAGE, *labels, *({SHA256} & row.keys())):
        if not row[name]:
            raise CardError(f"{where} {name}: it is empty; fill it in.")
    for name, known in labels.items():
        if row[name] not in (*known, _NOBODY):
            hint = registry.suggest(row[name], [*known, _NOBODY])
            raise CardError(f"{where} {name}: {row[name]!r} is no label of {name}{hint}; mend it.")
    cell, person = tuple(row[name] for name in labels), row.get(PERSON, "")
    if _NOBODY in cell:
        other = next((name for name in labels if row[name] != _NOBODY), None)
        if other is not None:
            raise CardError(f"{where} {other}: it says {row[other]!r} where another field says {_NOBODY!r}; mend one.")
        if person:
            raise CardError(f"{where} {PERSON}: the image shows {_NOBODY}, so leave it empty.")
        cell = NO_PERSON
    elif PERSON in row and not person:
        raise CardError(f"{where} {PERSON}: it is empty; give every person an id, or leave the column out.")
    image = paths.file_of_row(path.parent, row[IMAGE], f"{where} {IMAGE}")
    return KnownImage(line, image, cell, person, row.get(SHA256, "").lower())


def _refuse_empty_rows(
    path: Path, labels: Mapping[str, Sequence[str]], people: Sequence[Cell], seen: set[Cell]
) -> None:
    for index, (name, known) in enumerate(labels.items()):
        for label in known:
            if not any(cell[index] == label for cell in seen - {NO_PERSON}):
                raise CardError(
                    f"{path}, field {name}: no line says {label!r}, so its errors cannot be counted; add such images, "
                    "or leave the column out."
                )
    empty = [" ".join(cell) for cell in people if cell not in seen]
    if empty:
        raise CardError(
            f"{path}, fields {', '.join(labels)}: no line is {' or '.join(empty)}, so that row of the table would be "
            "empty; add such images, or leave a column out."
        )


def _looked_at(path: Path, images: Sequence[KnownImage], progress: Progress) -> Iterator[KnownImage]:
    """Yield the images with their sha256, each decoded once, so that one that cannot be used is known before any work.

    An image is its content: a copy under another name is the same image.
    """
    lines: dict[str, int] = {}
    with stage(progress, "manifest", len(images)) as bar:
        for image in images:
            where = f"{path}, line {image.line}, field"
            try:
                data, sha256 = pixels.read(image.path)
                pixels.decode(data, str(image.path))
            except ImageError as err:
                raise CardError(f"{where} {IMAGE}: {err}") from err
            if image.sha256 not in ("", sha256):
                raise CardError(f"{where} {SHA256}: that of {image.path} is {sha256}; mend it, or put the file back.")
            if lines.setdefault(sha256, image.line) != image.line:
                raise CardError(f"{where} {IMAGE}: it is the image of line {lines[sha256]} again; remove one line.")
            yield replace(image, sha256=sha256)
            bar.advance(1)


def _lot(image: KnownImage) -> str:
    return hashlib.sha256(f"{image.person}\0{image.sha256}".encode()).hexdigest()
