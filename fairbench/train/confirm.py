"""Does an image show what it is said to show? What a labeller answers, image by image, and how often it agrees."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fairbench import schemas
from fairbench.errors import FairbenchError
from fairbench.labeller import Labeller, LabelSpace
from fairbench.registry import suggest
from fairbench.stages import faces as faces_stage
from fairbench.stages.counts import CROSS
from fairbench.stages.ids import IdIndex
from fairbench.stages.reading import ImageRow
from fairbench.stats.bounds import share_interval
from fairbench.store import Store
from fairbench.train.data import Group

Verdict = Literal["confirmed", "other", "no_face", "no_image"]
"""Shows the group; shows another; no face that counts; the model made no image, or it cannot be read."""


def attributes_of(name: str, labels: LabelSpace) -> dict[str, tuple[str, ...]]:
    """Return the attributes of `gender`, `race4`, `gender_x_race4` ... with their declared labels, in order.

    Raises FairbenchError for an attribute that the labeller does not give, and for a cross of one with itself.
    """
    names, declared = name.split(CROSS), labels.declared.labels
    unknown = next((n for n in names if n not in declared), None)
    if unknown is not None:
        raise FairbenchError(
            f"--groups {name}: {labels.card.name} gives no attribute {unknown!r}{suggest(unknown, declared)}."
        )
    sources = [labels.card.attributes[n].source or n for n in names]
    if len(set(sources)) != len(sources):
        raise FairbenchError(f"--groups {name}: two of its attributes say the same thing; cross different ones.")
    return {n: tuple(declared[n]) for n in names}


def groups_of(attributes: Mapping[str, Sequence[str]]) -> list[Group]:
    """Return every combination of labels, the last attribute's running fastest."""
    return list(itertools.product(*attributes.values()))


def verdicts(
    store: Store, labeller: Labeller, faces_key: str, labels_key: str, attributes: Sequence[str],
    asked: Sequence[tuple[ImageRow, Group]],
) -> list[Verdict]:  # fmt: skip
    """Return what the labeller says of each image: does it show its group, as labels of `attributes`?

    Confirmed are images of which every face that counts has these labels, each with the policy's probability at least.
    """
    image_ids = list({row.request.image_id: None for row, _ in asked})
    faces = _counted_faces(store, labeller, faces_key, image_ids)
    seen = _labels(store, labeller, labels_key, attributes, [face for found in faces.values() for face in found])

    def one(row: ImageRow, group: Group) -> Verdict:
        if row.status != "ok":
            return "no_image"
        found = faces.get(row.request.image_id)
        if not found:
            return "no_face"
        wanted = dict(zip(attributes, group, strict=True))
        return "confirmed" if all(seen.get(face) == wanted for face in found) else "other"

    return [one(row, group) for row, group in asked]


def _counted_faces(
    store: Store, labeller: Labeller, faces_key: str, image_ids: Sequence[bytes]
) -> dict[bytes, list[bytes]]:
    """Return image id -> ids of its faces that count; a face that two processes found is there once."""
    wanted, found = IdIndex(pa.array(image_ids, schemas.ID)), dict[bytes, dict[bytes, None]]()
    for _, table in store.scan("faces", faces_key):
        table = table.filter(faces_stage.counted(table, labeller.card.face_policy))
        table = table.filter(wanted.known(table["image_id"]))
        for image, face in zip(table["image_id"].to_pylist(), table["face_id"].to_pylist(), strict=True):
            found.setdefault(image, {})[face] = None
    return {image: list(faces) for image, faces in found.items()}


def _labels(
    store: Store, labeller: Labeller, labels_key: str, attributes: Sequence[str], face_ids: Sequence[bytes]
) -> dict[bytes, dict[str, str]]:
    """Return face id -> attribute -> label, of labels that are as probable as the policy asks."""
    wanted, found = IdIndex(pa.array(face_ids, schemas.ID)), dict[bytes, dict[str, str]]()
    least = labeller.card.face_policy.min_prob
    columns = ["face_id", "attribute", "label", "prob"]
    for _, table in store.scan("labels", labels_key, columns):
        table = table.filter(wanted.known(table["face_id"]))
        for row in table.to_pylist():
            if row["attribute"] in attributes and row["prob"] is not None and row["prob"] >= least:
                found.setdefault(row["face_id"], {})[row["attribute"]] = row["label"]
    return found


@dataclass(frozen=True, slots=True)
class Rate:
    """How often images of one group were confirmed.

    images: how many were looked at, of which so many were confirmed, showed another group, no face, or nothing at all.
    share: confirmed among the first `of` images, as many for each prompt, whatever came out (later images are made
    where earlier ones failed, so they would distort it); low, high: its Jeffreys 95 % interval, see `share_interval`.
    """

    group: Group
    images: int
    confirmed: int
    other: int
    no_face: int
    no_image: int
    of: int
    share: float
    low: float
    high: float

    def record(self) -> dict[str, Any]:
        """Return plain data for a manifest."""
        return {k: list(v) if k == "group" else round(v, 6) for k, v in asdict(self).items()}


def rate(group: Group, found: Sequence[Verdict], first: Sequence[Verdict]) -> Rate:
    """Sum up a group's images. first: those of the design, before any was made again."""
    hits = first.count("confirmed")
    low, high = share_interval(np.array([hits, len(first) - hits]))
    n: Counter[Verdict] = Counter(found)
    return Rate(
        group, len(found), n["confirmed"], n["other"], n["no_face"], n["no_image"], len(first), hits / len(first),
        float(low[0]), float(high[0]),
    )  # fmt: skip
