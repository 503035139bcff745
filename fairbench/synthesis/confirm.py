"""Does an image show the group it stands for? A labeller's verdict on each image, and how often it agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from fairbench.cards.cards import CROSS
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure import gather
from fairbench.registry import suggest
from fairbench.stats.bounds import share_interval
from fairbench.storage import schemas
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.synthesis.balanced import Group, groups_of

Verdict = Literal["confirmed", "other", "no_face", "no_image"]
"""Shows the group; shows another; no face that counts; the model made no image, or it cannot be read."""


def attributes_of(name: str, labels: LabelSpace) -> dict[str, tuple[str, ...]]:
    """Return the attributes of `gender`, `race4`, `gender_x_race4` ... with their declared labels, in order.

    Raises FairbenchError for an attribute that the labeller does not give, and for a cross of one with itself.
    """
    names, declared = name.split(CROSS), labels.declared.labels
    for n in names:
        if n not in declared:
            raise FairbenchError(f"--groups {name}: {labels.card.name} gives no attribute {n!r}{suggest(n, declared)}.")
    sources = [labels.card.attributes[n].source or n for n in names]
    if len(set(sources)) != len(sources):
        raise FairbenchError(f"--groups {name}: two of its attributes have the same source; cross different ones.")
    return {n: tuple(declared[n]) for n in names}


def verdicts(
    store: Store,
    labels: LabelSpace,
    faces_key: str,
    labels_key: str,
    attributes: Sequence[str],
    image_groups: Sequence[tuple[ImageRow, Group]],
) -> list[Verdict]:
    """Return the labeller's verdict on each image and the group that it should show, as labels of `attributes`.

    Confirmed are images of which every face that counts has these labels, as a run counts them.
    """
    image_ids = list({row.request.image_id: None for row, _ in image_groups})
    reading, _ = gather.read(store, labels, faces_key, labels_key, pa.array(image_ids, schemas.ID))
    classes_of: dict[bytes, set[int]] = {image_id: set() for image_id in image_ids}
    for index, face_class in zip(reading.image, labels.classes_of(attributes, reading.codes), strict=True):
        classes_of[image_ids[index]].add(int(face_class))
    class_of = {group: i for i, group in enumerate(groups_of({a: labels.declared.labels[a] for a in attributes}))}

    def verdict(row: ImageRow, group: Group) -> Verdict:
        if row.status != "ok":
            return "no_image"
        classes = classes_of[row.request.image_id]
        if not classes:
            return "no_face"
        return "confirmed" if classes == {class_of[tuple(group)]} else "other"

    return [verdict(row, group) for row, group in image_groups]


@dataclass(frozen=True, slots=True)
class Rate:
    """How often images of one group were confirmed.

    images: how many were judged; confirmed, other, no_face, no_image: how many of them got each verdict. share:
    confirmed among the first `of` images, as many for each prompt, whatever their verdict (later images are made where
    earlier ones failed, so they would distort it); low, high: its Jeffreys 95 % interval, see `share_interval`.
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


def rate(group: Group, verdicts: Sequence[Verdict], first: Sequence[Verdict]) -> Rate:
    """Sum up a group's verdicts. first: those of the first round, before any image was made again."""
    hits = first.count("confirmed")
    low, high = share_interval(np.array([hits, len(first) - hits]))
    confirmed, other, no_face, no_image = (verdicts.count(kind) for kind in get_args(Verdict))
    share = (len(first), hits / len(first), float(low[0]), float(high[0]))
    return Rate(group, len(verdicts), confirmed, other, no_face, no_image, *share)
