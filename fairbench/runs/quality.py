"""Whether pictures of one perceived group score otherwise than those of the others: contrasts within prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fairbench.labelling.labeller import NOT_LABELLED, Reading
from fairbench.measure import gather
from fairbench.measure.counts import telling
from fairbench.runs import evidence
from fairbench.runs.evidence import FinishedRun
from fairbench.stats.estimands import IntArray
from fairbench.stats.multiplicity import holm
from fairbench.stats.within_prompts import Contrast, contrast
from fairbench.storage import schemas
from fairbench.storage.store import Store


@dataclass(frozen=True, slots=True)
class GroupQuality:
    """How far the images of one class score from the others of their prompt, by one scorer.

    p: two-sided, of no difference, adjusted over all classes of all attributes by this scorer (Holm); NaN without one.
    """

    scorer: str
    attribute: str
    label: str
    contrast: Contrast
    p: float


def of_run(run: FinishedRun) -> list[GroupQuality]:
    """Return the contrasts of every scorer of one number per image, attribute and class; of two classes, of the first.

    An image belongs to a class where all of its counted faces do. One with faces of the class and others, or with a
    face without a label, is left out, and so is one without a face.
    """
    found = []
    for scorer, table in run.scores.items():
        contrasts = list(_of_scorer(run, table))
        adjusted = holm([each.p for _, _, each in contrasts])
        found += [GroupQuality(scorer, *each, float(p)) for each, p in zip(contrasts, adjusted, strict=True)]
    return found


def _of_scorer(run: FinishedRun, table: pa.Table) -> Iterator[tuple[str, str, Contrast]]:
    """Yield attribute, class and contrast. table: see `FinishedRun.scores`."""
    ids = table["image_id"].combine_chunks().cast(schemas.ID)
    value = np.asarray(table["value"].to_numpy(), dtype=np.float64)
    prompt = np.unique(np.asarray(table["neutral_id"].to_pylist(), dtype=object), return_inverse=True)[1]
    space, keys = run.counts.labeller, run.record.keys
    store = Store(run.folder / evidence.FOLDER, look_only=True)
    reading, _ = gather.read(store, space, keys.faces, keys.labels, ids)
    for attribute, labels in space.declared.labels.items():
        for code, label in enumerate(telling(labels)):
            yield attribute, label, contrast(prompt, value, _in_class(reading, attribute, code, len(ids)))


def _in_class(reading: Reading, attribute: str, code: int, images: int) -> IntArray:
    """Return for each image (N,) 1 for the class, 0 for the others, -1 where it is neither."""
    codes = reading.codes[attribute]
    faces, own, unknown = (
        np.bincount(reading.image[chosen], minlength=images)
        for chosen in (np.ones(len(codes), dtype=bool), codes == code, codes == NOT_LABELLED)
    )
    one_kind = (faces > 0) & (unknown == 0) & ((own == 0) | (own == faces))
    return np.where(one_kind, (own > 0).astype(np.int64), -1)
