"""Gathers a run's faces and labels from the tables "faces" and "labels", batch by batch.

Two processes may have looked at the same image or labelled the same face: what stands in several shards is taken from
the first of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairbench.cards.cards import FacePolicy
from fairbench.errors import StoreError
from fairbench.labelling import faces as faces_stage
from fairbench.labelling.labeller import NOT_LABELLED, LabelSpace, Reading
from fairbench.storage import schemas
from fairbench.storage.ids import UNOWNED, IdIndex, IntArray, batches, keep_first
from fairbench.storage.store import Store

_GRAIN: Final = 2.0**-32
"""Probabilities are rounded to multiples of this, far finer than single precision; two million of them sum exactly."""


class Faces:
    """Which images have faces, and which faces count. M images; `add` takes batches of the table's COLUMNS."""

    COLUMNS: Final = ("image_id", "status", "face_id", "area_frac", "is_primary", "is_central")

    def __init__(self, policy: FacePolicy, image_ids: pa.Array) -> None:
        self._policy, self._index = policy, IdIndex(image_ids)
        self.has_face = np.zeros(len(image_ids), dtype=bool)
        self._shard = np.full(len(image_ids), UNOWNED)
        self._failed = np.zeros(len(image_ids), dtype=bool)
        self._statuses: Counter[str] = Counter()
        self._ids: list[pa.Array] = []
        self._images: list[IntArray] = []
        self._selected: list[IntArray] = []

    def add(self, table: pa.Table, shard: IntArray) -> None:
        """Take in rows. An image's rows stand in one shard; a shard where its detection failed is as good as none."""
        image = self._index.find(table["image_id"])
        failed = _mask(pc.equal(table["status"], "failed"))
        self._failed[image[failed & (image >= 0)]] = True
        rows = np.flatnonzero(~failed & (image >= 0))
        rows = rows[keep_first(self._shard, image[rows], shard[rows])]
        if len(rows) < len(table):
            table, image = table.take(pa.array(rows)), image[rows]
        self._statuses.update(_tally(table["status"]))
        self.has_face[image[_mask(pc.equal(table["status"], "ok"))]] = True
        counted = faces_stage.counted(table, self._policy)
        self._selected.append(image[_mask(faces_stage.selected(table, self._policy))])
        self._images.append(image[_mask(counted)])
        self._ids.append(table["face_id"].filter(counted).combine_chunks())

    @property
    def looked_at(self) -> NDArray[np.bool_]:
        """Which images (M,) were looked at, with whatever result."""
        return np.asarray(self._shard != UNOWNED)

    @property
    def image(self) -> IntArray:
        """The images of the counted faces, in the order of `ids`."""
        return _joined(self._images)

    @property
    def selected(self) -> IntArray:
        """The images of the faces that the policy selects, before its exclusions."""
        return _joined(self._selected)

    @property
    def statuses(self) -> Counter[str]:
        """How often each status occurs; "failed" is an image on which every detection failed."""
        return self._statuses + Counter(failed=int((self._failed & ~self.looked_at).sum()))

    def ids(self) -> pa.Array:
        """Return the ids of the counted faces."""
        return pa.chunked_array(self._ids, schemas.ID).combine_chunks()


class Labels:
    """The labels of N faces in A base attributes, and sums of their probabilities over the faces of each prompt.

    code: (A, N), a label's place among those declared, their number for "not labelled". sizes: (A,), how many are
    declared. probs: attribute -> (P, K).
    """

    COLUMNS: Final = ("face_id", "attribute", "status", "label", "prob", "probs")

    def __init__(self, labeller: LabelSpace, face_ids: pa.Array, prompt_of_face: IntArray, prompts: int) -> None:
        declared = labeller.base.labels
        self._labeller, self._index, self._prompt = labeller, IdIndex(face_ids), prompt_of_face
        self.sizes = np.array([len(labels) for labels in declared.values()], dtype=np.int64)
        self._words = sorted({label for labels in declared.values() for label in labels})
        # (A, words): the code of a word among an attribute's labels, -1 where it is none; last, for an unknown word.
        self._code_of_word = np.array(
            [[labels.index(w) if w in labels else -1 for w in [*self._words, None]] for labels in declared.values()]
        )
        self.code = np.repeat(self.sizes[:, None].astype(np.int32), len(face_ids), axis=1)
        self.statuses: Counter[str] = Counter()
        self._sums = [np.zeros(prompts * size) for size in self.sizes]
        self._row = np.full(self.code.size, UNOWNED)
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Take in rows. Raises StoreError where labels are not those that the card declares."""
        names = list(self._labeller.base.labels)
        attribute, face = _index(table["attribute"], names), self._index.find(table["face_id"])
        rows = np.flatnonzero((attribute >= 0) & (face >= 0))
        cell = attribute[rows] * len(self._prompt) + face[rows]
        ours = keep_first(self._row, cell, rows + self._rows)
        self._rows += len(table)
        rows, cell = rows[ours], cell[ours]
        self.statuses.update(_tally(table["status"].take(pa.array(rows))))
        sure = self._labeller.admitted(table["prob"].to_numpy()[rows])  # an absent probability is NaN
        rows, cell = rows[sure], cell[sure]
        code = self._code_of_word[attribute[rows], _index(table["label"], self._words)[rows]]
        start = _one_chunk(table["probs"]).offsets.to_numpy()
        if (code < 0).any() or (np.diff(start)[rows] != self.sizes[attribute[rows]]).any():
            raise StoreError(
                f"The store holds labels that labeller card {self._labeller.card.name} does not declare, under its "
                "key: remove the folder of these labels, or name another --store."
            )
        self.code.reshape(-1)[cell] = code
        self._add_probs(_one_chunk(table["probs"]).values.to_numpy(), start, attribute, face, rows)

    def _add_probs(
        self, values: NDArray[np.float32], start: NDArray[np.int32], attribute: IntArray, face: IntArray, rows: IntArray
    ) -> None:
        """Add the probabilities values[start[r] : start[r + 1]] of every row r.

        As whole multiples of _GRAIN, whose sums are exact: floats would sum to other last digits in another order of
        shards.
        """
        for a, sums in enumerate(self._sums):
            own, k = rows[attribute[rows] == a], np.arange(self.sizes[a])
            cell = self._prompt[face[own], None] * len(k) + k
            grains = np.rint(values[start[own, None] + k].astype(np.float64) / _GRAIN)
            sums += np.bincount(cell.ravel(), grains.ravel(), minlength=len(sums))

    @property
    def probs(self) -> dict[str, NDArray[np.float64]]:
        """Sums of class probabilities (P, K) of every declared attribute."""
        probs = {
            name: sums.reshape(-1, size) * _GRAIN
            for name, sums, size in zip(self._labeller.base.labels, self._sums, self.sizes, strict=True)
        }
        for name, spec in self._labeller.card.attributes.items():
            if spec.source is not None:  # a derived attribute rests on the same faces as its source
                probs[name] = probs[spec.source] @ self._labeller.derivation(name)
        return probs


def read(
    store: Store,
    space: LabelSpace,
    faces_key: str,
    labels_key: str,
    image_ids: pa.Array,
    policy: FacePolicy | None = None,
) -> tuple[Reading, pa.Array]:
    """Return the counted faces of these images as `Labeller.read` gives them, and the faces' ids (N,).

    policy: selects faces in place of the card's; `min_prob` stays the card's. Raises StoreError.
    """
    faces = Faces(policy or space.card.face_policy, image_ids)
    for table, shard in batches(store, "faces", faces_key, Faces.COLUMNS):
        faces.add(table, shard)
    ids = faces.ids()
    labels = Labels(space, ids, np.zeros(len(ids), dtype=np.int64), 1)
    for table, _ in batches(store, "labels", labels_key, Labels.COLUMNS):
        labels.add(table)
    codes = {
        name: np.where(code == size, NOT_LABELLED, code)
        for (name, code), size in zip(zip(space.base.labels, labels.code, strict=True), labels.sizes, strict=True)
    }
    return Reading(faces.image, space.with_derived(codes)), ids


def _joined(parts: list[IntArray]) -> IntArray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _mask(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)


def _index(words: pa.ChunkedArray, vocabulary: list[str]) -> IntArray:
    """Return each word's index in the vocabulary, -1 for any other and for null."""
    indices = pc.fill_null(pc.index_in(words, value_set=pa.array(vocabulary)), -1)
    return np.asarray(indices.to_numpy(), dtype=np.int64)


def _one_chunk(values: pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)


def _tally(statuses: pa.ChunkedArray) -> dict[str, int]:
    return {v["values"]: v["counts"] for v in pc.value_counts(statuses).to_pylist()}
