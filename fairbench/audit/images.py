"""Labelled probe images (given, or rendered for the phantom's labeller), and what a labeller reads in images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fairbench.audit.estimates import Skipped
from fairbench.audit.groups import Attribute
from fairbench.calibration import manifest as calibration_manifest
from fairbench.display.progress import Progress, Stage
from fairbench.errors import CardError
from fairbench.labelling.confusion import NO_PERSON
from fairbench.labelling.labeller import NOT_LABELLED, Labeller
from fairbench.storage import pixels
from fairbench.types import RgbImage

Codes = NDArray[np.int64]
"""Indices into an attribute's labels, one per image; NOBODY where no face has a label that counts."""
NOBODY = NOT_LABELLED
RENDERS = 512
"""Renders of the default set: 256 a gender, 128 a race."""
_BATCH = 64


@dataclass(frozen=True, slots=True)
class ProbeImages:
    """Images of known groups. codes: attribute -> (images,); an attribute without a column is absent."""

    images: Sequence[RgbImage]
    codes: dict[str, Codes]
    source: str


class Files(Sequence[RgbImage]):
    """Image files, each decoded whenever it is asked for: a labelled set may be larger than the memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> RgbImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[RgbImage]: ...
    def __getitem__(self, index: int | slice) -> RgbImage | list[RgbImage]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        path = self._paths[index]
        return pixels.decode(path.read_bytes(), str(path))


def find(
    manifest: Path | None, labeller: Labeller, wanted: Sequence[Attribute], seed: int, progress: Progress
) -> ProbeImages | Skipped:
    """Return the labelled images to probe with: the manifest's, or renders where the labeller reads mannequins."""
    if manifest is not None:
        return read(manifest, labeller, wanted, progress)
    if all(route.detector.type == "phantom" for route in labeller.card.routes):
        return rendered(wanted, RENDERS, seed)
    return Skipped("no labelled probe images: give --probe-images")


def read(manifest: Path, labeller: Labeller, wanted: Sequence[Attribute], progress: Progress) -> ProbeImages:
    """Read a manifest as `fairbench calibrate` does (`calibration.manifest`): one image a person, none of nobody.

    A second image of a person would let the probe know the face from training, and count twice. An attribute that is
    derived from a column's labels (race4 from race7) is derived. Raises CardError and ImageError that name file, line
    and field.
    """
    known = calibration_manifest.read(manifest, labeller, progress)
    people = [image for image in known.images if image.cell != NO_PERSON]
    shown = [image for image in known.one_per_person().images if image.cell != NO_PERSON]
    repeated = len(people) - len(shown)
    codes = {}
    for attribute in wanted:
        source = labeller.card.attributes[attribute.name].source
        column = attribute.name if attribute.name in known.attributes else source
        if column in known.attributes:
            labels, axis = labeller.declared.labels[column], known.attributes.index(column)
            given = np.array([labels.index(image.cell[axis]) for image in shown], dtype=np.int64)
            codes[attribute.name] = given if column == attribute.name else labeller.mapping(attribute.name)[given]
    if not codes:
        names = " or ".join(a.name for a in wanted)
        raise CardError(f"{manifest} labels no attribute that is audited: add a column {names}.")
    source = f"{manifest}, {repeated} left out: a person counts once" if repeated else str(manifest)
    return ProbeImages(Files([image.path for image in shown]), codes, source)


def rendered(wanted: Sequence[Attribute], count: int, seed: int) -> ProbeImages | Skipped:
    """Return `count` mannequins, the eight cells in turn."""
    from fairbench.phantom.planted import CELLS
    from fairbench.phantom.reading import renders
    from fairbench.phantom.renderer import GENDERS, RACES

    marks = {"gender": (0, GENDERS), "race4": (1, RACES)}
    shown, cells = renders(count, np.random.default_rng([seed, 11]))
    codes = {}
    for attribute in wanted:
        axis, labels = marks.get(attribute.name, (0, ()))
        if set(labels) == set(attribute.labels):
            codes[attribute.name] = np.array([attribute.labels.index(CELLS[cell][axis]) for cell in cells])
    if not codes:
        return Skipped("mannequins show gender and race4 only, neither of which this labeller gives")
    return ProbeImages(list(shown), codes, "rendered mannequins")


def labelled(
    labeller: Labeller, images: Sequence[RgbImage], wanted: Sequence[Attribute], bar: Stage
) -> dict[str, Codes]:
    """Read images as a run does, one face per image: attribute -> its label, NOBODY where none counts.

    Where the policy selects all faces, the largest is taken, as in a calibration.
    """
    codes: dict[str, list[Codes]] = {a.name: [] for a in wanted}
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        reading = labeller.read(part, one_per_image=True)
        for name, parts in codes.items():
            parts.append(reading.by_image(reading.codes[name], len(part)))
        bar.advance(len(part))
    return {name: np.concatenate([*parts, np.zeros(0, dtype=np.int64)]) for name, parts in codes.items()}
