"""Counts once: faces of every prompt in the joint cells of the base attributes. Margins and crosses are sums of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairbench import schemas
from fairbench.labeller import Labeller
from fairbench.stages import faces as faces_stage
from fairbench.stages.ids import IdIndex, batches, first_of_each
from fairbench.stages.reading import ImageRow
from fairbench.store import Store

CROSS = "_x_"
IntArray = NDArray[np.int64]


def cross_name(attributes: Sequence[str]) -> str:
    """Return the name of a cross, as in gender_x_race4."""
    return CROSS.join(attributes)


@dataclass
class Counts:
    """The counts of a run. P prompts; K_a declared labels of base attribute a, plus one cell for "not labelled".

    joint: (P, K_1 + 1, K_2 + 1, ...). probs: attribute -> sums of class probabilities (P, K). requested, images,
    with_face, selected: (P,) numbers of requests, images, images with a face, faces that the policy selects.
    statuses: how often each status occurs in the tables "faces" and "labels".
    """

    joint: IntArray
    probs: dict[str, NDArray[np.float64]]
    requested: IntArray
    images: IntArray
    with_face: IntArray
    selected: IntArray
    statuses: dict[str, Counter[str]]
    axes: tuple[str, ...]
    labeller: Labeller

    def of(self, attributes: Sequence[str]) -> IntArray:
        """Return the counts (P, product of K) of an attribute or a cross; faces without one of the labels left out."""
        sources = [self.labeller.card.attributes[a].source or a for a in attributes]
        if len(set(sources)) != len(sources):
            raise ValueError(f"{cross_name(attributes)}: two attributes of a cross come from one source")
        axes = [1 + self.axes.index(s) for s in sources]
        counts = self.joint.sum(axis=tuple(i for i in range(1, self.joint.ndim) if i not in axes))
        # Summing keeps the axes in the joint's order; bring them into the cross's order.
        counts = np.transpose(counts, [0, *(1 + int(np.argsort(np.argsort(axes))[i]) for i in range(len(axes)))])
        for position, (name, source) in enumerate(zip(attributes, sources, strict=True), start=1):
            counts = np.take(counts, range(self.labeller.base.size(source)), axis=position)
            if name != source:
                counts = np.moveaxis(np.moveaxis(counts, position, -1) @ self.labeller.derivation(name), -1, position)
        flat: IntArray = counts.reshape(len(counts), -1)
        return flat


def count(store: Store, labeller: Labeller, faces_key: str, labels_key: str, rows: Sequence[ImageRow],
          neutral_ids: Sequence[bytes]) -> Counts:  # fmt: skip
    """Count a run's faces. `rows`: one a request that was answered; `neutral_ids`: the prompts, in order."""
    place = {n: i for i, n in enumerate(neutral_ids)}
    size = len(neutral_ids)
    prompt_of = np.array([place[r.request.neutral_id] for r in rows], dtype=np.int64)
    ok = np.array([r.status == "ok" for r in rows], dtype=bool)
    faces = _Faces(labeller, pa.array([r.request.image_id for r in rows], schemas.ID))
    for _, table in store.scan("faces", faces_key):  # not merged: one image's rows stand in one shard
        faces.add(table)
    prompt_of_face = prompt_of[faces.image]
    codes, probs, label_statuses = _codes(store, labels_key, labeller, faces.ids(), prompt_of_face, size)
    shape = tuple(len(labels) + 1 for labels in labeller.base.labels.values())
    cells = int(np.prod(shape))
    # One axis of joint cells; ravel_multi_index refuses empty input.
    cell = np.zeros(len(prompt_of_face), dtype=np.int64)
    for attribute, width in zip(labeller.base.labels, shape, strict=True):
        cell = cell * width + codes[attribute]
    flat = np.bincount(prompt_of_face * cells + cell, minlength=size * cells)

    def tally(mask: NDArray[np.bool_]) -> IntArray:
        return np.bincount(prompt_of[mask], minlength=size)

    return Counts(
        joint=flat.reshape(size, *shape),
        probs=probs,
        requested=tally(np.ones(len(rows), dtype=bool)),
        images=tally(ok & faces.looked_at),
        with_face=tally(faces.has_face),
        selected=np.bincount(prompt_of[faces.selected], minlength=size),
        statuses={"faces": faces.statuses, "labels": label_statuses},
        axes=tuple(labeller.base.labels),
        labeller=labeller,
    )


class _Faces:
    """Gathers, shard by shard, which images have faces and which faces count."""

    def __init__(self, labeller: Labeller, image_ids: pa.Array) -> None:
        self._policy, self._places = labeller.card.face_policy, IdIndex(image_ids)
        self.has_face = np.zeros(len(image_ids), dtype=bool)
        self.looked_at = np.zeros(len(image_ids), dtype=bool)
        self.statuses: Counter[str] = Counter()
        self._ids: list[pa.Array] = []
        self._images: list[IntArray] = []
        self._selected: list[IntArray] = []

    def add(self, table: pa.Table) -> None:
        image = self._places.find(table["image_id"])
        wanted = image >= 0
        wanted[wanted] = ~self.looked_at[image[wanted]]  # two processes may have detected the same image
        table, image = table.filter(pa.array(wanted)), image[wanted]
        self.statuses.update(_tally(table["status"]))
        self.looked_at[image[_mask(pc.not_equal(table["status"], "failed"))]] = True
        self.has_face[image[_mask(pc.equal(table["status"], "ok"))]] = True
        chosen = _mask(faces_stage.selected(table, self._policy))
        counted = _mask(faces_stage.counted(table, self._policy))
        self._selected.append(image[chosen])
        self._images.append(image[counted])
        self._ids.append(table["face_id"].filter(pa.array(counted)).combine_chunks())

    @property
    def image(self) -> IntArray:
        return np.concatenate(self._images) if self._images else np.zeros(0, dtype=np.int64)

    @property
    def selected(self) -> IntArray:
        return np.concatenate(self._selected) if self._selected else np.zeros(0, dtype=np.int64)

    def ids(self) -> pa.Array:
        return pa.chunked_array(self._ids, schemas.ID).combine_chunks()


def _mask(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)


def _codes(
    store: Store, labels_key: str, labeller: Labeller, face_ids: pa.Array, prompt_of_face: IntArray, prompts: int
) -> tuple[Mapping[str, IntArray], dict[str, NDArray[np.float64]], Counter[str]]:
    """Return a label code for every face and base attribute (K: not labelled), sums of probabilities, statuses."""
    min_prob = labeller.card.face_policy.min_prob
    schema = labeller.base.labels
    places = IdIndex(face_ids)
    codes = {a: np.full(len(face_ids), len(labels), dtype=np.int64) for a, labels in schema.items()}
    seen = {a: np.zeros(len(face_ids), dtype=bool) for a in schema}
    probs = {a: np.zeros((prompts, len(labels))) for a, labels in schema.items()}
    statuses: Counter[str] = Counter()
    columns = ["face_id", "attribute", "status", "label", "prob", "probs"]
    for table in batches(store.scan("labels", labels_key, columns)):
        for attribute, labels in schema.items():
            part = table.filter(pc.equal(table["attribute"], attribute))
            face = places.find(part["face_id"])
            fresh = face >= 0
            fresh[fresh] = ~seen[attribute][face[fresh]]  # two processes may have labelled the same face
            fresh &= first_of_each(face)
            part, face = part.filter(pa.array(fresh)), face[fresh]
            seen[attribute][face] = True
            statuses.update(_tally(part["status"]))
            sure = _mask(pc.fill_null(pc.greater_equal(part["prob"], min_prob), False))
            part, face = part.filter(pa.array(sure)), face[sure]
            codes[attribute][face] = pc.index_in(part["label"], value_set=pa.array(labels)).to_numpy()
            flat = pc.list_flatten(part["probs"]).to_numpy().reshape(len(part), len(labels))
            for k in range(len(labels)):
                probs[attribute][:, k] += np.bincount(prompt_of_face[face], flat[:, k], minlength=prompts)
    for name, spec in labeller.card.attributes.items():
        if spec.source is not None:  # a derived attribute rests on the same faces as its source
            probs[name] = probs[spec.source] @ labeller.derivation(name)
    return codes, probs, statuses


def _tally(statuses: pa.ChunkedArray) -> dict[str, int]:
    return {v["values"]: v["counts"] for v in pc.value_counts(statuses).to_pylist()}
