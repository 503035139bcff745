"""labels: images -> faces -> chips -> labels, in one pass over the images, streamed.

Images are cut into parcels; a parcel writes one shard of faces and one of labels. Chips are batched across images.
Faces that are in the store are not detected again, faces that have labels are not classified again: a kill costs the
parcel in flight, and a new classifier generates and detects nothing. Of a table of labels, nothing is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench.cards.cards import FacePolicy
from fairbench.display.progress import Progress, Stage
from fairbench.errors import FairbenchError, ImageError
from fairbench.labelling import faces as faces_stage
from fairbench.labelling.faces import StoredFace
from fairbench.labelling.label_table import UNCLEAR
from fairbench.labelling.labeller import Labeller
from fairbench.labelling.table_labeller import TableLabeller
from fairbench.notices import notice
from fairbench.storage import schemas
from fairbench.storage.reading import READ_AHEAD, ImageReader, ImageRow, by_shard
from fairbench.storage.store import Store
from fairbench.types import FoundFace, RgbImage

PARCEL = 256
DETECT_BATCH = READ_AHEAD
DETECT_PIXELS = 16_000_000
CHIP_BATCH = 64
STAGE = "faces and labels"
Unlabelled = dict[bytes, list[StoredFace]]
"""Id of an image whose faces are in the store -> those of them that have no label."""


@dataclass
class _Parcel:
    """Rows gathered before they are written together."""

    faces: faces_stage.Rows = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    chips: list[tuple[StoredFace, bytes, RgbImage]] = field(default_factory=list)


class LabelStage:
    """Labels the faces of a run's images."""

    def __init__(self, store: Store, labeller: Labeller, faces_key: str, labels_key: str) -> None:
        self.store, self.labeller = store, labeller
        self.faces_key, self.labels_key = faces_key, labels_key
        self.policy: FacePolicy = labeller.card.face_policy
        self.unread: dict[bytes, str] = {}
        self.failed: dict[bytes, str] = {}
        """Id of an image without faces because the detector failed -> reason."""

    def run(self, rows: Sequence[ImageRow], progress: Progress) -> int:
        """Detect and label what the store lacks; return how many images were looked at."""
        todo, unlabelled = self.pending(rows)
        with progress.stage(STAGE, len(todo)) as bar:
            self.label(todo, unlabelled, bar)
        if todo:
            self.labeller.report()
        if self.failed:
            text = "The face detector raised an error on images, which count as failed"
            examples = (f"{image_id.hex()}: {reason}" for image_id, reason in sorted(self.failed.items()))
            notice("detector-failed", text, count=len(self.failed), examples=examples)
        return len(todo)

    def pending(self, rows: Sequence[ImageRow]) -> tuple[list[ImageRow], Unlabelled]:
        """Return the rows that lack something in the store, and of images whose faces are there those without label."""
        unlabelled = self._stored({r.request.image_id for r in rows})
        todo = by_shard(r for r in rows if r.request.image_id not in unlabelled or unlabelled[r.request.image_id])
        return todo, unlabelled

    def label(self, rows: Sequence[ImageRow], unlabelled: Unlabelled, bar: Stage) -> None:
        """Detect and label these rows, whatever the store has of them. unlabelled: as of `pending`."""
        if any(r.status == "ok" for r in rows):
            self.labeller.load()
        reader = ImageReader(self.store)
        for start in range(0, len(rows), PARCEL):
            self._parcel(rows[start : start + PARCEL], unlabelled, reader, bar)

    def give_up(self, row: ImageRow, unlabelled: Unlabelled, reason: str) -> None:
        """Store that an image cannot be labelled, where the process that labels it does not live to say so."""
        image_id, neutral_id = row.request.image_id, row.request.neutral_id
        stored = unlabelled.get(image_id)
        if stored is None:
            self.store.write("faces", self.faces_key, faces_stage.table([faces_stage.missing_row(image_id, "failed")]))
            self.failed[image_id] = reason
            return
        no_label = [_row(face, neutral_id, name, _UNCLEAR) for face in stored for name in self.labeller.declared.labels]
        self.store.write("labels", self.labels_key, _table(no_label))

    def _stored(self, image_ids: set[bytes]) -> Unlabelled:
        """Return, for each image whose faces are in the store, those that have no label yet."""
        labelled = set(self.store.ids("labels", self.labels_key, "face_id"))
        unlabelled: Unlabelled = {}
        for _, table in self.store.scan("faces", self.faces_key):
            for image_id, status in zip(table["image_id"].to_pylist(), table["status"].to_pylist(), strict=True):
                if image_id in image_ids:
                    unlabelled.setdefault(image_id, [])
                    if status == "failed":
                        self.failed.setdefault(image_id, "in an earlier run")
            for face in faces_stage.stored_faces(table.filter(faces_stage.counted(table, self.policy))):
                waiting = unlabelled.get(face.image_id)
                if waiting is not None and face.face_id not in labelled:
                    labelled.add(face.face_id)  # two shards may hold the same face
                    waiting.append(face)
        return unlabelled

    def _parcel(self, rows: Sequence[ImageRow], unlabelled: Unlabelled, reader: ImageReader, bar: Stage) -> None:
        parcel = _Parcel()
        readable = [r for r in rows if r.status == "ok"]
        parcel.faces += [faces_stage.missing_row(r.request.image_id, "no_image") for r in rows if r.status != "ok"]
        bar.advance(len(parcel.faces))
        batch: list[tuple[ImageRow, RgbImage]] = []
        for row, image in reader.stream(readable):
            waiting = unlabelled.get(row.request.image_id)
            if isinstance(image, ImageError):
                self.unread[row.request.image_id] = str(image)  # not stored: the next run tries again
            elif waiting is not None:
                self._add_chips(parcel, row, image, waiting)
            else:
                batch.append((row, image))
            if len(batch) >= DETECT_BATCH or sum(image.size for _, image in batch) >= DETECT_PIXELS:
                self._detect(parcel, batch)
                batch = []
            bar.advance(1)
        self._detect(parcel, batch)
        self._classify(parcel)
        self.store.write("faces", self.faces_key, faces_stage.table(parcel.faces))
        self.store.write("labels", self.labels_key, _table(parcel.labels))

    def _detect(self, parcel: _Parcel, batch: list[tuple[ImageRow, RgbImage]]) -> None:
        rows: faces_stage.Rows = []
        for (row, image), faces in zip(batch, self._found([image for _, image in batch]), strict=True):
            height, width = image.shape[:2]
            image_id = row.request.image_id
            if isinstance(faces, str):
                self.failed[image_id] = faces
                rows.append(faces_stage.missing_row(image_id, "failed"))
            else:
                rows += faces_stage.image_rows(self.faces_key, image_id, faces, width, height)
        parcel.faces += rows
        # Through the table, so that a chip cut now equals a chip cut after a restart (coordinates are float32).
        table = faces_stage.table(rows)
        pictures = {row.request.image_id: (row, image) for row, image in batch}
        for face in faces_stage.stored_faces(table.filter(faces_stage.counted(table, self.policy))):
            self._add_chips(parcel, *pictures[face.image_id], [face])

    def _found(self, images: list[RgbImage]) -> list[list[FoundFace] | str]:
        """Return each image's faces; the reason for an image on which the detector raises: no other loses its faces."""
        try:
            return [*self.labeller.detect(images)]
        except FairbenchError:
            raise
        except Exception as err:  # noqa: BLE001 - a fault of one image must not cost the run; it is a notice and counted
            if len(images) == 1:
                return [f"{type(err).__name__}: {err}"]
            return [self._found([image])[0] for image in images]

    def _add_chips(self, parcel: _Parcel, row: ImageRow, image: RgbImage, faces: list[StoredFace]) -> None:
        for face in faces:
            parcel.chips.append((face, row.request.neutral_id, self.labeller.cut(image, face.detected)))
        if len(parcel.chips) >= CHIP_BATCH:
            self._classify(parcel)

    def _classify(self, parcel: _Parcel) -> None:
        if not parcel.chips:
            return
        probs = self.labeller.classify([chip for _, _, chip in parcel.chips])
        codes = self.labeller.most_probable(probs)
        for attribute, labels in self.labeller.declared.labels.items():
            best = codes[attribute]
            for i, (face, neutral_id, _) in enumerate(parcel.chips):
                label = _label(labels, probs[attribute][i], int(best[i]))
                parcel.labels.append(_row(face, neutral_id, attribute, label))
        parcel.chips.clear()


_UNCLEAR: Final = {"status": UNCLEAR, "label": None, "prob": None, "probs": None}


def _row(face: StoredFace, neutral_id: bytes, attribute: str, label: dict[str, Any]) -> dict[str, Any]:
    whose = {"face_id": face.face_id, "image_id": face.image_id, "neutral_id": neutral_id}
    return {**whose, "attribute": attribute, **label}


def _label(labels: Sequence[str], probs: NDArray[np.float32], best: int) -> dict[str, Any]:
    """Return status, label, its probability and those of all classes, of a face's probabilities (K,); NaN: no label."""
    if np.isnan(probs).all():
        return _UNCLEAR
    return {"status": "ok", "label": labels[best], "prob": float(probs[best]), "probs": probs.tolist()}


class TableStage:
    """Writes the faces and labels of a table that was made elsewhere; no image is looked at."""

    def __init__(self, store: Store, labeller: TableLabeller, faces_key: str, labels_key: str) -> None:
        self.store, self.labeller = store, labeller
        self.faces_key, self.labels_key = faces_key, labels_key
        self.unread: dict[bytes, str] = {}
        self.failed: dict[bytes, str] = {}

    def run(self, rows: Sequence[ImageRow], progress: Progress) -> int:
        """Write what the store lacks; return of how many images. Raises FairbenchError for images without a row."""
        labeller = self.labeller
        labeller.refuse_unlabelled([r.request for r in rows if r.status == "ok"])
        have = self.store.ids("faces", self.faces_key)
        todo = [r.request for r in rows if r.request.image_id not in have]
        with progress.stage("labels", len(todo)) as bar:
            for start in range(0, len(todo), PARCEL):
                parcel = todo[start : start + PARCEL]
                labelled = [r for r in parcel if labeller.has_rows(r.image_id)]
                labels = [x for r in labelled for x in labeller.label_rows(self.faces_key, r.image_id, r.neutral_id)]
                faces = [x for r in labelled for x in labeller.face_rows(self.faces_key, r.image_id)]
                unlabelled = (r.image_id for r in parcel if not labeller.has_rows(r.image_id))
                faces += [faces_stage.missing_row(image_id, "no_image") for image_id in unlabelled]
                self.store.write("labels", self.labels_key, _table(labels))  # first: an image with faces is done
                self.store.write("faces", self.faces_key, faces_stage.table(faces))
                bar.advance(len(parcel))
        return len(todo)


def stage(store: Store, labeller: Labeller, faces_key: str, labels_key: str) -> LabelStage | TableStage:
    """Return the stage that gives a run's images faces and labels."""
    if isinstance(labeller, TableLabeller):
        return TableStage(store, labeller, faces_key, labels_key)
    return LabelStage(store, labeller, faces_key, labels_key)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return schemas.build("labels", {n: [r[n] for r in rows] for n in schemas.schema("labels").names})
