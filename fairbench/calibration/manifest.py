"""Manifests of images whose truth is known: what a labeller's errors are counted on.

A CSV with a column `path` (of the image's file: relative to the manifest, or absolute), a column per attribute of the
labeller, and optionally `person` (an id) and `sha256` (of the file). `image` is another name of `path`. Columns that
nothing reads are a notice, and a misspelt name is an error.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairbench import registry
from fairbench.cards.csvfile import IMAGE_IS_PATH, Columns, read_csv
from fairbench.display.progress import Progress
from fairbench.errors import CardError, ImageError
from fairbench.labelling.confusion import NO_PERSON, Cell
from fairbench.labelling.labeller import LabelSpace
from fairbench.storage import paths, pixels

PATH: Final = "path"
PERSON: Final = "person"
SHA256: Final = "sha256"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One line of a manifest. cell: the true labels, or NO_PERSON. person: an id, "" where the manifest has none.

    sha256: of the file, in hex; "" where the manifest has none and the file was not read yet.
    """

    line: int
    path: Path
    cell: Cell
    person: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """A checked manifest. attributes: in the card's order. cells: all combinations of their labels, the last attribute
    changing fastest, then NO_PERSON where images show nobody. images: in the order of their lines, all with a sha256.
    """

    file: Path
    attributes: tuple[str, ...]
    cells: tuple[Cell, ...]
    images: tuple[LabelledImage, ...]

    def one_per_person(self) -> LabelledImages:
        """Return the manifest with one image per person, whatever the order of its lines; images of nobody all stay.

        The image that stays is that with the smallest sha256 of (person, sha256 of the file).
        """
        image_of = dict[str, LabelledImage]()
        for image in self.images:
            image_of[image.person] = min(image_of.get(image.person, image), image, key=_hash_of_person_and_file)
        return replace(self, images=tuple(i for i in self.images if not i.person or image_of[i.person] is i))


def read(path: Path, space: LabelSpace, progress: Progress, *, derived: bool = False) -> LabelledImages:
    """Read a manifest and decode every file that it names, one at a time.

    derived: whether attributes that the labeller derives from others may be labelled. Their errors depend on how often
    each label that they are derived from occurs, so that they hold for a run's own images alone.

    Raises CardError, naming file, line, field and fix, for whatever does not hold: an unknown label or column, an empty
    field, an image that is missing, cannot be decoded, has another sha256 or stands twice, a person with two different
    labels, a label that no line has, or a derived attribute.
    """
    attributes, images = _parsed(path, space)
    derived_from = {name: space.card.attributes[name].source for name in attributes}
    for name, source in derived_from.items():
        if source is not None and not derived:
            raise CardError(
                f"{path}, line 1, field {name}: {space.card.name} derives it from {source}, so its errors depend on "
                f"how often each label of {source} occurs, which differs between images: label {source} instead, or "
                "give the run of which these are the images (--run)."
            )
    labels = [space.declared.labels[a] for a in attributes]
    cells = tuple(itertools.product(*labels))
    _refuse_gaps(path, dict(zip(attributes, labels, strict=True)), {i.cell for i in images})
    if any(i.cell == NO_PERSON for i in images):
        cells += (NO_PERSON,)
    return LabelledImages(path, attributes, cells, tuple(_decoded(path, images, progress)))


def _parsed(path: Path, space: LabelSpace) -> tuple[tuple[str, ...], list[LabelledImage]]:
    """Return the manifest's attributes and its lines, whose files are not read yet."""
    attributes, images, first = tuple[str, ...](), list[LabelledImage](), dict[str, LabelledImage]()
    optional = (PERSON, SHA256, *space.declared.labels)
    for line, row in read_csv(path, Columns((PATH,), optional, aliases=IMAGE_IS_PATH)):
        attributes = attributes or _attributes(path, row, space)
        image = _image(path, line, row, {a: space.declared.labels[a] for a in attributes})
        earlier = first.setdefault(image.person, image) if image.person else image
        if earlier.cell != image.cell:
            raise CardError(
                f"{path}, line {line}, field {PERSON}: {image.person!r} is {' '.join(image.cell)} here and "
                f"{' '.join(earlier.cell)} in line {earlier.line}; fix the labels or the id."
            )
        images.append(image)
    if not images:
        raise CardError(f"{path} holds no rows: add one for each image.")
    return attributes, images


def _attributes(path: Path, header: Iterable[str], space: LabelSpace) -> tuple[str, ...]:
    """Return the attributes that have a column, in the card's order."""
    header, declared = list(header), space.declared.labels
    names = tuple(name for name in declared if name in header)
    if not names:
        raise CardError(f"{path}, line 1: no column is an attribute of {space.card.name}; add {' or '.join(declared)}.")
    column_of = dict[str, str]()  # what classifiers give -> the column that holds it
    for name in names:
        earlier = column_of.setdefault(space.card.attributes[name].source or name, name)
        if earlier != name:
            raise CardError(f"{path}, line 1, field {name}: it says the same as {earlier}; leave one of the two out.")
    return names


def _image(path: Path, line: int, row: Mapping[str, str], labels: Mapping[str, Sequence[str]]) -> LabelledImage:
    where = f"{path}, line {line}, field"
    for name in (PATH, *labels, *({SHA256} & row.keys())):
        if not row[name]:
            raise CardError(f"{where} {name}: it is empty; fill it in.")
    for name, declared in labels.items():
        choices = [*declared, *NO_PERSON]
        if row[name] not in choices:
            hint = registry.suggest(row[name], choices)
            raise CardError(f"{where} {name}: {row[name]!r} is no label of {name}{hint}; fix it.")
    cell, person = _cell(where, row, tuple(labels)), row.get(PERSON, "")
    if cell == NO_PERSON and person:
        raise CardError(f"{where} {PERSON}: the image shows {NO_PERSON[0]}, so leave it empty.")
    if cell != NO_PERSON and PERSON in row and not person:
        raise CardError(f"{where} {PERSON}: it is empty; give every person an id, or leave the column out.")
    file = paths.file_of_row(path.parent, row[PATH], f"{where} {PATH}")
    return LabelledImage(line, file, cell, person, row.get(SHA256, "").lower())


def _cell(where: str, row: Mapping[str, str], attributes: tuple[str, ...]) -> Cell:
    """Return a line's true labels, or NO_PERSON, which all of its attributes have to say then."""
    cell, (no_person,) = tuple(row[name] for name in attributes), NO_PERSON
    if no_person not in cell:
        return cell
    for name, label in zip(attributes, cell, strict=True):
        if label != no_person:
            raise CardError(f"{where} {name}: it says {label!r} where another field says {no_person!r}; fix one.")
    return NO_PERSON


def _refuse_gaps(path: Path, labels: Mapping[str, Sequence[str]], cells: set[Cell]) -> None:
    """Refuse a manifest that lacks a label. cells: those that lines have; a combination may be missing."""
    for index, (name, declared) in enumerate(labels.items()):
        used = {cell[index] for cell in cells - {NO_PERSON}}
        missing = next((label for label in declared if label not in used), None)
        if missing is not None:
            raise CardError(
                f"{path}, field {name}: no line says {missing!r}, so its errors cannot be counted; add such images, "
                "or leave the column out."
            )


def _decoded(path: Path, images: Sequence[LabelledImage], progress: Progress) -> Iterator[LabelledImage]:
    """Yield the images with their sha256, each decoded once, so that a file that cannot be used is refused before any
    work. An image is its content: a copy under another name is the same image.
    """
    line_of: dict[str, int] = {}
    with progress.stage("manifest", len(images)) as bar:
        for image in images:
            where = f"{path}, line {image.line}, field"
            try:
                data, sha256 = pixels.read(image.path)
                pixels.decode(data, str(image.path))
            except ImageError as err:
                raise CardError(f"{where} {PATH}: {err}") from err
            if image.sha256 not in ("", sha256):
                raise CardError(f"{where} {SHA256}: that of {image.path} is {sha256}; fix it, or put the file back.")
            if line_of.setdefault(sha256, image.line) != image.line:
                raise CardError(f"{where} {PATH}: it is the image of line {line_of[sha256]} again; remove one line.")
            yield replace(image, sha256=sha256)
            bar.advance(1)


def _hash_of_person_and_file(image: LabelledImage) -> str:
    return hashlib.sha256(f"{image.person}\0{image.sha256}".encode()).hexdigest()
