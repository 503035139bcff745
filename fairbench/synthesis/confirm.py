"""Does an image show what it is said to show? What a labeller answers, image by image, and how often it agrees."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

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
from fairbench.synthesis.balanced import Group

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
    store: Store, labels: LabelSpace, faces_key: str, labels_key: str, attributes: Sequence[str],
    asked: Sequence[tuple[ImageRow, Group]],
) -> list[Verdict]:  # fmt: skip
    """Return what the labeller says of each image: does it show its group, as labels of `attributes`?

    Confirmed are images of which every face that counts has these labels, as a run counts them.
    """
    image_ids = list({row.request.image_id: None for row, _ in asked})
    reading, _ = gather.read(store, labels, faces_key, labels_key, pa.array(image_ids, schemas.ID))
    classes = labels.classes_of(attributes, reading.codes)
    index_of = {image_id: i for i, image_id in enumerate(image_ids)}
    classes_in: list[list[int]] = [[] for _ in image_ids]
    for image, one in zip(reading.image.tolist(), classes.tolist(), strict=True):
        classes_in[image].append(one)
    class_of = {group: i for i, group in enumerate(groups_of({a: labels.declared.labels[a] for a in attributes}))}

    def verdict(row: ImageRow, group: Group) -> Verdict:
        if row.status != "ok":
            return "no_image"
        seen = classes_in[index_of[row.request.image_id]]
        if not seen:
            return "no_face"
        return "confirmed" if set(seen) == {class_of[tuple(group)]} else "other"

    return [verdict(row, group) for row, group in asked]


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
