"""Labelled probe images (from a manifest, or rendered for the phantom's labeller), and the labels of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairbench.audit.estimates import Skipped
from fairbench.audit.groups import Attribute
from fairbench.calibration import manifest as calibration_manifest
from fairbench.display.progress import Progress, Stage, blocks
from fairbench.errors import CardError
from fairbench.labelling.confusion import NO_PERSON
from fairbench.labelling.labeller import Labeller
from fairbench.storage import pixels
from fairbench.types import RgbImage

Codes = NDArray[np.int64]
"""Indices into an attribute's labels, one per image; NOT_LABELLED where no face has a label that counts."""
RENDERS = 512
"""Renders of the default set: 256 per gender, 128 per race."""
_BATCH = 64


@dataclass(frozen=True, slots=True)
class ProbeImages:
    """Images of known groups. codes: attribute -> (images,); an attribute without a column is absent."""

    images: Sequence[RgbImage | Path]
    codes: dict[str, Codes]
    source: str

    def blocks(self, size: int) -> Iterator[list[RgbImage]]:
        """Yield `size` images at a time. Files are decoded when they come up: a set may be larger than the memory."""
        for start in range(0, len(self.images), size):
            yield [
                pixels.decode(image.read_bytes(), str(image)) if isinstance(image, Path) else image
                for image in self.images[start : start + size]
            ]


def probe_images(
    manifest: Path | None, labeller: Labeller, attributes: Sequence[Attribute], seed: int, progress: Progress
) -> ProbeImages | Skipped:
    """Return the manifest's images, or renders where the labeller is made for mannequins."""
    if manifest is not None:
        return read(manifest, labeller, attributes, progress)
    if all(route.detector.type == "phantom" for route in labeller.card.routes):
        return rendered(attributes, RENDERS, seed)
    return Skipped("no labelled probe images: give --probe-images")


def read(manifest: Path, labeller: Labeller, attributes: Sequence[Attribute], progress: Progress) -> ProbeImages:
    """Read a manifest as `fairbench calibrate` does (`calibration.manifest`): one image per person, none of nobody.

    With a second image of a person the probe would know the face from training, and count it twice. An attribute that
    is derived from a column's labels (race4 from race7) is derived. Raises CardError and ImageError that name file,
    line and field.
    """
    labeller.refuse_sending(f"the images in {manifest}")
    table = calibration_manifest.read(manifest, labeller, progress)
    all_images, images = (
        [image for image in images.images if image.cell != NO_PERSON] for images in (table, table.one_per_person())
    )
    codes = {}
    for attribute in attributes:
        source = labeller.card.attributes[attribute.name].source
        column = attribute.name if attribute.name in table.attributes else source
        if column in table.attributes:
            labels, axis = labeller.declared.labels[column], table.attributes.index(column)
            column_codes = np.array([labels.index(image.cell[axis]) for image in images], dtype=np.int64)
            derived = column != attribute.name
            codes[attribute.name] = labeller.mapping(attribute.name)[column_codes] if derived else column_codes
    if not codes:
        names = " or ".join(a.name for a in attributes)
        raise CardError(f"{manifest} labels no attribute that is audited: add a column {names}.")
    repeated = len(all_images) - len(images)
    source = f"{manifest}, {repeated} left out: a person counts once" if repeated else str(manifest)
    return ProbeImages([image.path for image in images], codes, source)


def rendered(attributes: Sequence[Attribute], count: int, seed: int) -> ProbeImages | Skipped:
    """Return `count` mannequins, the eight cells of gender and race in turn."""
    from fairbench.phantom.planted import CELLS
    from fairbench.phantom.reading import renders
    from fairbench.phantom.renderer import GENDERS, RACES

    rendered_labels = {"gender": (0, GENDERS), "race4": (1, RACES)}
    images, cells = renders(count, np.random.default_rng([seed, 11]))
    codes = {}
    for attribute in attributes:
        axis, labels = rendered_labels.get(attribute.name, (0, ()))
        if set(labels) == set(attribute.labels):
            codes[attribute.name] = np.array([attribute.labels.index(CELLS[cell][axis]) for cell in cells])
    if not codes:
        return Skipped("mannequins show gender and race4 only, neither of which this labeller gives")
    return ProbeImages(list(images), codes, "rendered mannequins")


def label_codes(
    labeller: Labeller, images: Sequence[RgbImage], attributes: Sequence[Attribute], bar: Stage
) -> dict[str, Codes]:
    """Label images as a run does, one face per image: attribute -> codes (images,), NOT_LABELLED where none counts.

    Where the policy selects all faces, the largest is taken, as in a calibration.
    """
    parts: dict[str, list[Codes]] = {a.name: [np.zeros(0, dtype=np.int64)] for a in attributes}
    for block in blocks(images, _BATCH, bar):
        reading = labeller.read(block, one_per_image=True)
        for name, codes in parts.items():
            codes.append(reading.by_image(reading.codes[name], len(block)))
    return {name: np.concatenate(codes) for name, codes in parts.items()}
