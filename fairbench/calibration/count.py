"""calibrate: a labeller's joint confusion table, counted on images whose truth is known.

The true cells are the prompts of a small run: the images go through the stage that labels a run's images, and the
counting that a run's correction starts from, so both mean the same by every column. Faces and labels stay in the
store; a calibration that was stopped resumes from there.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from fairbench import keys
from fairbench.calibration.manifest import PATH, LabelledImage, LabelledImages
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.display.progress import Progress
from fairbench.errors import CardError
from fairbench.labelling import domain as image_domain
from fairbench.labelling.confusion import NO_FACE, NO_PERSON, Calibration, Cell
from fairbench.labelling.labeller import Labeller
from fairbench.measure.counts import count
from fairbench.runs.labels import LabelStage
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import ImageRequest

IMAGE_KEY: Final = "calibration"
"""The key of all images here: each is identified by its content alone, whatever manifest names it."""


def calibrate(
    truth: LabelledImages,
    loaded: Loaded[LabellerCard],
    store: Store,
    progress: Progress,
    *,
    domain: str,
    command: str,
    run_images: str = "",
    device: str = "cpu",
) -> Calibration:
    """Label one image per person and return the table of true against read cells, all attributes together.

    As in a run: the first route that finds a face, its crop, the classifiers, the face policy. An image shows at most
    one labelled person, so where the policy selects all faces, the largest is taken. NO_FACE holds the images that give
    a run no label: without a face, with a face smaller than `min_area`, or read with less than `min_prob`. Images on
    which the detector fails are left out, as in a run.

    run_images: the hash of the ids of a run's images, where these are some of them.

    Raises CardError where an image can no longer be read, WeightsError for absent weights, StoreError.
    """
    one_per_image = loaded.card.model_copy(update={"face_policy": loaded.card.face_policy.one_per_image()})
    labeller, used = Labeller(replace(loaded, card=one_per_image), device), truth.one_per_person()
    if image_domain.parse(domain).kind not in ("generated", "renders", "drawings"):
        labeller.refuse_sending("these images")
    rows = [_row(image) for image in used.images]
    faces_key = labeller.faces_key(IMAGE_KEY)
    labels_key = labeller.labels_key(faces_key)
    stage = LabelStage(store, labeller, faces_key, labels_key)
    stage.run(rows, progress)
    _refuse_unread(used, rows, stage.unread)
    counts = count(store, labeller, faces_key, labels_key, rows, [_cell_id(cell) for cell in used.cells])
    people = tuple(cell for cell in used.cells if cell != NO_PERSON)
    return Calibration(
        labeller=loaded.card.name,
        labeller_id=Labeller(loaded, device).id,
        domain=domain,
        attributes=used.attributes,
        rows=used.cells,
        columns=(*people, NO_FACE),
        counts=np.asarray(counts.observed(used.attributes)),  # plain counts: no image has more than one counted face
        command=command,
        seed=0,
        run_images=run_images,
        notes=_notes(truth, used, failed=len(rows) - int(counts.images.sum())),
    )


def _row(image: LabelledImage) -> ImageRow:
    """Return the image as the row of a run whose prompt is the true cell."""
    image_id, cell = keys.file_image_id(IMAGE_KEY, b"", 1, image.sha256), _cell_id(image.cell)
    request = ImageRequest(image_id, cell, cell, "", 0, 0, str(image.path.resolve()), image.sha256)
    return ImageRow(request, "ok", None, image.sha256, Path())


def _cell_id(cell: Cell) -> bytes:
    return keys.digest("cell", list(cell))


def _refuse_unread(used: LabelledImages, rows: list[ImageRow], unread: dict[bytes, str]) -> None:
    for image, row in zip(used.images, rows, strict=True):
        reason = unread.get(row.request.image_id)
        if reason is not None:
            raise CardError(f"{used.file}, line {image.line}, field {PATH}: {reason}")


def _notes(truth: LabelledImages, used: LabelledImages, failed: int) -> str:
    # The hash is over what the manifest says, whatever the order of its lines and wherever the files lie.
    lines = sorted([image.sha256, *image.cell, image.person] for image in truth.images)
    sha256 = hashlib.sha256(keys.canonical([truth.attributes, lines]).encode()).hexdigest()
    sentences = [f"Manifest: {len(truth.images)} images, sha256 {sha256}."]
    if left_out := len(truth.images) - len(used.images):
        sentences.append(f"{left_out} of them are left out: a person counts once.")
    if failed:
        sentences.append(f"{failed} are left out because the detector failed on them.")
    return " ".join(sentences)
