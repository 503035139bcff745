"""The labeller of kind `table`: faces and labels that were made elsewhere, instead of a detector and classifiers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import numpy as np
from pydantic import ValidationError

from fairbench import keys
from fairbench.cards.cards import FacePolicy, LabellerCard
from fairbench.display.note import SeenBy
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import faces, label_columns
from fairbench.labelling.label_table import UNCLEAR, LabelRow, LabelTable
from fairbench.labelling.labeller import Labeller, LabelSpace
from fairbench.networks import identity
from fairbench.types import FoundFace, ImageRequest, RgbImage

KIND: Final = "table"
QUESTIONS: Final = "vqa"
"""The classifier that asks a model about each picture."""
VERSION: Final = 1


def is_table(card: LabellerCard) -> bool:
    """Whether a labeller's card stands for labels that were made elsewhere."""
    return card.classifiers[0].type == KIND


def read_by(card: LabellerCard) -> SeenBy:
    """Return what gave the labels of a labeller's card."""
    if is_table(card):
        return "table"
    return "questions" if any(classifier.type == QUESTIONS for classifier in card.classifiers) else "classifier"


class TableLabeller(Labeller):
    """Labels from a table. declared: the card that says which attributes and classes it has, if any.

    Its keys hold the hash of the table's content; `assign` says which image has which rows.
    """

    def __init__(self, table: LabelTable, declared: LabellerCard | None = None) -> None:
        LabelSpace.__init__(self, _card(table, declared))
        self.routes, self.classifiers = [], []
        self.table = table
        self._rows: Mapping[bytes, Sequence[LabelRow]] = {}
        self._unlabelled: list[ImageRequest] = []

    def assign(self, rows: Mapping[bytes, Sequence[LabelRow]], requests: Sequence[ImageRequest]) -> None:
        """Say which rows each image has, by its id, and which images the run has."""
        self._rows = rows
        self._unlabelled = [r for r in requests if r.image_id not in rows]

    @property
    def parts(self) -> dict[str, Any]:
        """The parts that enter keys: what `Labeller.parts` holds, with the table in place of a detector."""
        part = {"type": KIND, "version": VERSION, "params": {"sha256": self.table.sha256}}
        attributes = {name: identity.of_params(spec, None) for name, spec in self.card.attributes.items()}
        return {"detectors": [part], "crops": [], "classifiers": [part], "attributes": attributes}

    def load(self) -> None:
        """Raise FairbenchError where an image of the run has no row, before any image is made."""
        self.refuse_unlabelled(self._unlabelled)

    def refuse_unlabelled(self, requests: Sequence[ImageRequest]) -> None:
        """Raise FairbenchError that names images without a row."""
        missing = [r for r in requests if r.image_id not in self._rows]
        if missing:
            first = missing[0]
            name = first.path or f"{first.image_id.hex()} (sample {first.sample_index} of {first.text!r})"
            raise FairbenchError(
                f"{self.table.path} has no row for {len(missing)} of the run's images, such as {name}: add a row for "
                "each (with an empty face where nobody is seen), or leave the images out of the run."
            )

    def has_rows(self, image_id: bytes) -> bool:
        """Whether the table says something of an image."""
        return image_id in self._rows

    def face_rows(self, faces_key: str, image_id: bytes) -> faces.Rows:
        """Return an image's rows of the table `faces`: no boxes, the face of the lowest number is the main one."""
        rows = self._faces(image_id)
        if not rows:
            return [faces.missing_row(image_id, "no_face")]
        return [
            {
                "image_id": image_id,
                "status": "ok",
                "face_id": keys.face_id(faces_key, image_id, index),
                "face_index": index,
                "is_primary": index == 0,
                "is_central": index == 0,
            }
            for index in range(len(rows))
        ]

    def label_rows(self, faces_key: str, image_id: bytes, neutral_id: bytes) -> faces.Rows:
        """Return an image's rows of the table `labels`, derived attributes included."""
        return [
            {
                "face_id": keys.face_id(faces_key, image_id, index),
                "image_id": image_id,
                "neutral_id": neutral_id,
                "attribute": attribute,
                **self._label(row, attribute),
            }
            for index, row in enumerate(self._faces(image_id))
            for attribute in self.declared.labels
        ]

    def _faces(self, image_id: bytes) -> list[LabelRow]:
        rows = [row for row in self._rows[image_id] if row.face is not None]
        return sorted(rows, key=lambda row: row.face or 0)

    def _label(self, row: LabelRow, attribute: str) -> dict[str, Any]:
        """Return status, label, its probability and those of all classes: 1 where the table has none."""
        spec = self.card.attributes[attribute]
        base = spec.source or attribute
        label = row.labels[base]
        if label == UNCLEAR:
            return {"status": UNCLEAR, "label": None, "prob": None, "probs": None}
        classes = self.base.labels[base]
        given = row.probs.get(base)
        probs = np.eye(len(classes))[classes.index(label)] if given is None else np.array(given)
        if spec.source is not None:
            probs, label = probs @ self.derivation(attribute), spec.map[label]
        prob = float(probs[self.declared.labels[attribute].index(label)])
        return {"status": "ok", "label": label, "prob": prob, "probs": probs.tolist()}

    def detect(self, images: Sequence[RgbImage]) -> list[list[FoundFace]]:
        """Raise FairbenchError: a table looks at no images."""
        self._refuse()

    def cut(self, image: RgbImage, face: FoundFace) -> RgbImage:
        """Raise FairbenchError: a table looks at no images."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise FairbenchError(f"{self.table.path} holds labels of images; it cannot look at others: name a --labeller.")


def _card(table: LabelTable, declared: LabellerCard | None) -> LabellerCard:
    """Return the card of a table: what run.json holds in place of a labeller's. Raises CardError."""
    part = {"type": KIND, "sha256": table.sha256}
    name = re.sub(r"[^a-z0-9._-]+", "-", table.path.stem.lower()).strip("-._") or "labels"
    # Nobody measured the faces' area, and without a card every face that has a row counts.
    policy = FacePolicy(select="all") if declared is None else declared.face_policy.model_copy(update={"min_area": 0.0})
    try:
        return LabellerCard(
            name=name[:80],
            title=f"Labels of {table.path.name}",
            routes=[{"detector": part, "crop": {"type": KIND}}],
            classifiers=[part],
            attributes=dict(table.columns.attributes),
            crosses=label_columns.crosses(table.columns.attributes, declared),
            face_policy=policy,
        )
    except ValidationError as err:
        problem = err.errors()[0]["msg"].removeprefix("Value error, ")
        raise CardError(f"{table.path}, line 1: {problem}; name the columns that count with --labeller.") from err
