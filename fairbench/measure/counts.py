"""Counts the faces of every prompt in the joint cells of the base attributes. Margins and crosses are sums of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairbench.cards.cards import CROSS
from fairbench.labelling.labeller import NOT_LABELLED, LabelSpace
from fairbench.measure.gather import Faces, Labels
from fairbench.stats.units import Data, Units, units_of_images
from fairbench.storage.ids import IntArray, batches, id_array
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store

MAX_IMAGES: Final = 4_000_000
"""Images that are counted in one pass over the shards; more take more passes, not more memory."""
WITHHELD: Final = ("refused", "blank")
"""Statuses of images that a model would not show."""


def attributes(space: LabelSpace) -> list[tuple[str, ...]]:
    """Return every attribute and declared cross, as tuples of attribute names."""
    return [(a,) for a in space.card.attributes] + [tuple(c) for c in space.card.crosses]


def primary(space: LabelSpace) -> list[tuple[str, ...]]:
    """Return the attributes of the few statements that count: gender, race, and their cross.

    They are the first declared cross and its parts; without a cross, the attributes that classifiers give.
    """
    if not space.card.crosses:
        return [(name,) for name in space.base.labels]
    cross = tuple(space.card.crosses[0])
    return [*((name,) for name in cross), cross]


def telling(classes: Sequence[str]) -> Sequence[str]:
    """Return the classes of which something is to be said: of two, the second says what the first does.

    >>> telling(["female", "male"]), telling(["a", "b", "c"])
    (['female'], ['a', 'b', 'c'])
    """
    return classes[:1] if len(classes) == 2 else classes


def cross_name(attributes: Sequence[str]) -> str:
    """Return the name of a cross, as in gender_x_race4."""
    return CROSS.join(attributes)


@dataclass(frozen=True, slots=True, eq=False)
class FacesByImage:
    """Which counted faces are of one image.

    prompt: (M,), each image's prompt. image: (N,), each face's image in 0..M - 1. cell: (N,), its index in the joint
    cells of a prompt, flattened.
    """

    prompt: IntArray
    image: IntArray
    cell: IntArray


@dataclass
class Counts:
    """The counts of a run. P prompts; K_a declared labels of base attribute a, plus one cell for "not labelled".

    joint: (P, K_1 + 1, K_2 + 1, ...). probs: attribute -> sums of class probabilities (P, K). requested, images,
    with_face, selected: (P,) numbers of requests, images looked at, images with a face, faces that the policy selects.
    statuses: how often each status occurs in the tables "faces" and "labels". by_image: None where no image has more
    than one counted face; the joint cells then say everything. refused: (P,), images that the model refused or withheld
    (`blank`); none where they are not given.
    """

    joint: IntArray
    probs: dict[str, NDArray[np.float64]]
    requested: IntArray
    images: IntArray
    with_face: IntArray
    selected: IntArray
    statuses: dict[str, Counter[str]]
    axes: tuple[str, ...]
    labeller: LabelSpace
    by_image: FacesByImage | None = None
    refused: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if not len(self.refused):
            self.refused = np.zeros_like(self.requested)

    @property
    def several(self) -> bool:
        """Whether any image has more than one counted face."""
        return self.by_image is not None

    def of(self, attributes: Sequence[str]) -> IntArray:
        """Return the counts (P, product of K) of an attribute or a cross; faces without one of the labels left out."""
        cells = self._class_of_cell(attributes)
        members = cells[:, None] == np.arange(self._classes(attributes))
        return np.asarray(self.joint.reshape(len(self.joint), len(cells)) @ members)

    def data(self, attributes: Sequence[str]) -> Data:
        """Return what statistics of an attribute or a cross rest on, as images are drawn again, not faces.

        Plain counts (P, K), as `of`, where no image has more than one counted face; else the images by the class counts
        of their labelled faces. Images without a face that has all of these labels are left out.
        """
        if self.by_image is None:
            return self.of(attributes)
        classes = self._class_of_cell(attributes)[self.by_image.cell]
        labelled = classes >= 0
        if not labelled.any():  # units have at least one kind
            return self.of(attributes)
        # uint16: as many images as faces, times K. No image has 65,536 faces.
        faces = np.zeros((len(self.by_image.prompt), self._classes(attributes)), dtype=np.uint16)
        np.add.at(faces, (self.by_image.image[labelled], classes[labelled]), 1)
        units = units_of_images(self.by_image.prompt, faces, len(self.joint))
        return Units(units.kinds.astype(np.int64), units.times)

    def observed(self, attributes: Sequence[str]) -> Data:
        """Return `data` with one more last column, "no face": what a correction of the labeller's errors rests on.

        Images that were looked at and have no face with all of these labels count there: (P, K + 1), or Units whose
        last kind is the unit vector of that column. Without `by_image` rows add up to `images`.
        """
        data = self.data(attributes)
        if not isinstance(data, Units):
            return np.column_stack([data, self.images - data.sum(axis=1)])
        kinds = np.zeros((len(data.kinds) + 1, data.kinds.shape[1] + 1), dtype=np.int64)
        kinds[:-1, :-1], kinds[-1, -1] = data.kinds, 1
        return Units(kinds, np.column_stack([data.times, self.images - data.times.sum(axis=1)]))

    def _classes(self, attributes: Sequence[str]) -> int:
        return math.prod(self.labeller.declared.size(a) for a in attributes)

    def _class_of_cell(self, attributes: Sequence[str]) -> IntArray:
        """Return the class that each joint cell of a prompt, flattened, has in a cross; -1 where a label is missing."""
        sources = [self.labeller.card.attributes[a].source or a for a in attributes]
        if len(set(sources)) != len(sources):
            raise ValueError(f"{cross_name(attributes)}: two attributes of a cross come from one source")
        indices = np.indices(self.joint.shape[1:]).reshape(len(self.axes), -1)
        codes = {  # the last index of an axis is "not labelled"
            name: np.where(index < self.labeller.base.size(name), index, NOT_LABELLED)
            for name, index in zip(self.axes, indices, strict=True)
        }
        return self.labeller.classes_of(attributes, codes)


def count(
    store: Store,
    labeller: LabelSpace,
    faces_key: str,
    labels_key: str,
    rows: Sequence[ImageRow],
    neutral_ids: Sequence[bytes],
) -> Counts:
    """Return the counts of a run. rows: one per answered request; neutral_ids: the prompts, in order.

    Raises StoreError where the store cannot be read or holds labels that the labeller does not declare.
    """
    parts = [
        _count(store, labeller, faces_key, labels_key, rows[start : start + MAX_IMAGES], neutral_ids)
        for start in range(0, max(1, len(rows)), MAX_IMAGES)
    ]
    return parts[0] if len(parts) == 1 else _summed(parts)


def _summed(parts: Sequence[Counts]) -> Counts:
    """Return the counts of all images from those of parts of them. Sums of probabilities are exact, so in any order."""
    first, counted = parts[0], ("joint", "requested", "images", "with_face", "selected", "refused")
    return Counts(
        **{name: np.sum([getattr(part, name) for part in parts], axis=0) for name in counted},
        probs={name: np.sum([part.probs[name] for part in parts], axis=0) for name in first.probs},
        statuses={table: sum((part.statuses[table] for part in parts), Counter()) for table in first.statuses},
        axes=first.axes,
        labeller=first.labeller,
        by_image=_joined([part.by_image or _one_face_each(part.joint) for part in parts])
        if any(part.several for part in parts)
        else None,
    )


def _one_face_each(joint: IntArray) -> FacesByImage:
    """Return the images of counts in which no image has several faces; those without a face are left out."""
    times = joint.reshape(len(joint), -1)
    prompt, cell = np.nonzero(times)
    faces = times[prompt, cell]
    prompt_of_image = np.repeat(prompt, faces)
    return FacesByImage(prompt_of_image, np.arange(len(prompt_of_image)), np.repeat(cell, faces))


def _joined(parts: Sequence[FacesByImage]) -> FacesByImage:
    first_image = np.cumsum([0, *(len(part.prompt) for part in parts)])
    return FacesByImage(
        prompt=np.concatenate([part.prompt for part in parts]),
        image=np.concatenate([part.image + first for part, first in zip(parts, first_image, strict=False)]),
        cell=np.concatenate([part.cell for part in parts]),
    )


def _count(
    store: Store,
    labeller: LabelSpace,
    faces_key: str,
    labels_key: str,
    rows: Sequence[ImageRow],
    neutral_ids: Sequence[bytes],
) -> Counts:
    index_of = {neutral_id: index for index, neutral_id in enumerate(neutral_ids)}
    size = len(neutral_ids)
    # Without lists of millions of numbers on the way.
    prompt_of = np.fromiter((index_of[r.request.neutral_id] for r in rows), np.int64, len(rows))
    ok = np.fromiter((r.status == "ok" for r in rows), bool, len(rows))
    withheld = np.fromiter((r.status in WITHHELD for r in rows), bool, len(rows))
    faces = Faces(labeller.card.face_policy, id_array(r.request.image_id for r in rows))
    for table, shard in batches(store, "faces", faces_key, Faces.COLUMNS):
        faces.add(table, shard)

    # An image with a face was looked at, even where a second process failed to make the same image.
    images = ok & faces.looked_at | faces.has_face
    counted = {"requested": prompt_of, "images": prompt_of[images], "with_face": prompt_of[faces.has_face]}
    counted["selected"] = prompt_of[faces.selected]
    counted["refused"] = prompt_of[withheld]
    image_of_face, ids, face_statuses = faces.image, faces.ids(), faces.statuses
    del faces  # a hundred bytes per image, before as much is needed for the labels
    prompt_of_face = prompt_of[image_of_face]
    labels = Labels(labeller, ids, prompt_of_face, size)
    for table, _ in batches(store, "labels", labels_key, Labels.COLUMNS):
        labels.add(table)
    shape = tuple(len(declared) + 1 for declared in labeller.base.labels.values())
    cells = math.prod(shape)
    cell = np.zeros(len(prompt_of_face), dtype=np.int64)
    for code, width in zip(labels.code, shape, strict=True):  # ravel_multi_index refuses empty input
        cell = cell * width + code
    joint = np.bincount(prompt_of_face * cells + cell, minlength=size * cells)
    several = np.bincount(image_of_face, minlength=1).max() > 1
    return Counts(
        joint=joint.reshape(size, *shape),
        probs=labels.probs,
        **{name: np.bincount(of_prompts, minlength=size) for name, of_prompts in counted.items()},
        statuses={"faces": face_statuses, "labels": labels.statuses},
        axes=tuple(labeller.base.labels),
        labeller=labeller,
        by_image=FacesByImage(prompt_of, image_of_face, cell) if several else None,
    )
