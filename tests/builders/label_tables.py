"""Tables of faces and labels, written by hand, and the labeller whose labels they hold."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairbench import keys
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.labelling.labeller import Labeller
from fairbench.measure.counts import Counts, count
from fairbench.storage import schemas
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, Prompt

RACE7 = ["White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"]
TO4 = dict(zip(RACE7, ["WMELH", "Black", "WMELH", "Asian", "Asian", "Indian", "WMELH"], strict=True))


def hand_labeller(genders: Sequence[str] = ("Male", "Female"), **policy: Any) -> Labeller:
    """Return a labeller of genders, seven races and four, whose weights do not exist."""
    card = LabellerCard.model_validate(
        {
            "name": "hand",
            "title": "written by hand",
            "routes": [{"detector": {"type": "dlib", "model": "hog"}, "crop": {"type": "box"}}],
            "classifiers": [
                {
                    "type": "onnx",
                    "weights": {"path": "x.onnx"},
                    "input": {"size": [4, 4], "layout": "nchw", "resize": "torch-bilinear"},
                    "heads": {"gender": {"output": "g"}, "race7": {"output": "r"}},
                }
            ],
            "attributes": {
                "gender": {"labels": list(genders)},
                "race7": {"labels": RACE7},
                "race4": {"labels": ["WMELH", "Black", "Indian", "Asian"], "from": "race7", "map": TO4},
            },
            "crosses": [["gender", "race4"]],
            "face_policy": policy,
        }
    )
    return Labeller(Loaded(card, None))


PROMPTS = [
    Prompt(keys.prompt_id(t), keys.prompt_id(t), "task", 1, "face", t, s)
    for t, s in (("a nurse", "nurse"), ("a judge", "judge"))
]
Spec = Sequence[tuple[int, str, str]]


class Tables:
    """Writes images' faces and labels into a store."""

    def __init__(self, store: Store, labeller: Labeller) -> None:
        self.store, self.labeller, self.rows, self._number = store, labeller, list[ImageRow](), itertools.count()

    def image(
        self, prompt: int, faces: Spec = (), status: str = "ok", areas: Sequence[float] = (), prob: float = 0.9
    ) -> None:
        """Add an image with faces of (gender code, race7 label, status of the labels)."""
        n = next(self._number)
        pid = PROMPTS[prompt].prompt_id
        request = ImageRequest(keys.digest("image", n), pid, pid, "x", n, n)
        self.rows.append(ImageRow(request, status, None, None, Path("-")))
        blank = dict.fromkeys(schemas.schema("faces").names)
        if not faces:
            kind = "no_face" if status == "ok" else "no_image"
            self._write("faces", [{**blank, "image_id": request.image_id, "status": kind}])
            return
        faces_of_image, labels = [], []
        for i, (gender, race, _) in enumerate(faces):
            area = areas[i] if areas else 0.1
            face = keys.face_id("f", request.image_id, i)
            flags = {"is_primary": i == 0, "is_central": i == len(faces) - 1}
            row = {"image_id": request.image_id, "status": "ok", "face_id": face, "face_index": i, "area_frac": area}
            faces_of_image.append({**blank, **row, **flags})
            for attribute, label in (("gender", ["Male", "Female"][gender]), ("race7", race)):
                k = self.labeller.base.labels[attribute].index(label)
                size = self.labeller.base.size(attribute)
                probs = np.full(size, (1 - prob) / (size - 1))
                probs[k] = prob
                labels.append((face, request.image_id, pid, attribute, "ok", label, prob, probs.tolist()))
            four = self.labeller.derivation("race4")[RACE7.index(race)]
            labels.append((face, request.image_id, pid, "race4", "ok", TO4[race], prob, four.astype(float).tolist()))
        self._write("faces", faces_of_image)
        names = ("face_id", "image_id", "neutral_id", "attribute", "status", "label", "prob", "probs")
        self._write("labels", [dict(zip(names, row, strict=True)) for row in labels])

    def _write(self, table: str, rows: list[dict[str, Any]]) -> None:
        columns = {n: [r[n] for r in rows] for n in schemas.schema(table).names}
        self.store.write(table, table[0], schemas.build(table, columns))

    def count(self) -> Counts:
        return count(self.store, self.labeller, "f", "l", self.rows, [p.neutral_id for p in PROMPTS])
