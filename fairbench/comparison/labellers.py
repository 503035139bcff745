"""Two labellers on the same images: how often they agree, where they do not, and what that does to concentration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import pyarrow as pa
from scipy.stats import spearmanr

from fairbench.comparison.sides import Side, shared_attributes
from fairbench.labelling.labeller import NOT_LABELLED, LabelSpace, Reading
from fairbench.measure import gather
from fairbench.measure.counts import attributes, cross_name
from fairbench.runs import evidence
from fairbench.stats import gaffke, intervals
from fairbench.stats.agreement import Agreement, Disagreement, agreement, disagreements
from fairbench.stats.paired import other_prompts, pair
from fairbench.stats.ranking import DECIMALS
from fairbench.storage import schemas
from fairbench.storage.ids import IdIndex, IntArray
from fairbench.storage.store import Store

BY_FACE, BY_IMAGE = "face (one detector)", "image (primary face)"
_MAX_DISAGREEMENTS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class AttributeAgreement:
    """Two labellers on one attribute or cross. table (K, K): faces, rows A's label, columns B's.

    top: the most frequent disagreements. concentration_a, concentration_b: means over n_prompts prompts; change (B - A)
    with its interval for other prompts. rank_correlation: Spearman's, of the prompts' concentration; NaN where one
    labeller gives all prompts one value. reason: why some of these numbers are absent.
    """

    attribute: str
    labels: tuple[str, ...]
    table: IntArray
    agreement: Agreement
    top: list[Disagreement]
    concentration_a: float
    concentration_b: float
    change: float
    low: float
    high: float
    rank_correlation: float
    n_prompts: int
    left_out: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LabellerComparison:
    """matched: faces that both labelled. unmatched: letter -> how many faces only that run counted or could be matched.

    not_shared: attributes that only one of the labellers declares.
    """

    sides: list[Side]
    alpha: float
    matched_by: str
    matched: int
    unmatched: dict[str, int]
    attributes: list[AttributeAgreement]
    not_shared: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Labelled:
    """The counted faces (N,) of a run. ids: the ids that they are matched by, if by face; reading.image (N,) are
    indices into the run's sorted image ids.
    """

    space: LabelSpace
    ids: pa.Array
    reading: Reading

    def classes(self, names: Sequence[str], labels: dict[str, tuple[str, ...]]) -> IntArray:
        """Return each face's class (N,) among the combinations of `labels`; NOT_LABELLED where a label is missing.

        labels: those of this labeller in any order.
        """
        sizes = [len(labels[name]) for name in names]
        own_cells = product(*(self.space.declared.labels[name] for name in names))
        class_of_own = [
            np.ravel_multi_index([labels[n].index(label) for n, label in zip(names, cell, strict=True)], sizes)
            for cell in own_cells
        ]
        return np.array([*class_of_own, NOT_LABELLED])[self.space.classes_of(names, self.reading.codes)]


def compare(a: Side, b: Side, alpha: float) -> LabellerComparison:
    """Compare the labellers of two runs of the same images. Raises StoreError where the evidence is damaged."""
    same_detector = a.run.record.keys.faces == b.run.record.keys.faces
    faces_a, faces_b = (_labelled(side, primary=not same_detector) for side in (a, b))
    # For each face of B, the index of the same face (or image) of A; -1 where A has none.
    index_in_a = IdIndex(faces_a.ids).find(faces_b.ids) if same_detector else _by_image(faces_a, faces_b)
    in_both = index_in_a >= 0
    shared = shared_attributes(a, b)
    agreements = []
    for names in shared:
        labels = {name: tuple(faces_a.space.declared.labels[name]) for name in names}
        classes = [faces_a.classes(names, labels)[index_in_a[in_both]], faces_b.classes(names, labels)[in_both]]
        agreements.append(_agreement([a, b], names, classes, alpha))
    declared = (names for side in (a, b) for names in attributes(side.run.counts.labeller))
    not_shared = list(dict.fromkeys(cross_name(names) for names in declared if names not in shared))
    matched = int(in_both.sum())
    unmatched = {a.letter: len(faces_a.reading.image) - matched, b.letter: len(faces_b.reading.image) - matched}
    matched_by = BY_FACE if same_detector else BY_IMAGE
    return LabellerComparison([a, b], alpha, matched_by, matched, unmatched, agreements, not_shared)


def _labelled(side: Side, *, primary: bool) -> _Labelled:
    """Return the counted faces and their labels from a run's evidence. primary: only each image's largest face."""
    run, space = side.run, side.run.counts.labeller
    policy = space.card.face_policy.model_copy(update={"select": "largest"}) if primary else None
    images = pa.array(sorted(row.request.image_id for row in run.rows), schemas.ID)
    keys = run.record.keys
    store = Store(run.folder / evidence.FOLDER, look_only=True)
    reading, ids = gather.read(store, space, keys.faces, keys.labels, images, policy)
    return _Labelled(space, ids, reading)


def _by_image(faces_a: _Labelled, faces_b: _Labelled) -> IntArray:
    """Return, for each face of B, the index of A's face in the same image; -1 where that has none."""
    n_images = 1 + max(faces_a.reading.image.max(initial=0), faces_b.reading.image.max(initial=0))
    face_in_image = np.full(n_images, -1)
    face_in_image[faces_a.reading.image] = np.arange(len(faces_a.reading.image))
    return np.asarray(face_in_image[faces_b.reading.image])


def _agreement(sides: list[Side], names: tuple[str, ...], classes: list[IntArray], alpha: float) -> AttributeAgreement:
    """Return how two labellers agree on the matched faces, whose classes (N,) count as A's labeller orders them."""
    cells = tuple(sides[0].run.counts.labeller.classes(names))
    k, (classes_a, classes_b) = len(cells), classes
    both = (classes_a >= 0) & (classes_b >= 0)
    table = np.bincount(classes_a[both] * k + classes_b[both], minlength=k * k).reshape(k, k)
    data = [side.data(names) for side in sides]
    # Rounded, so that prompts that tie do tie in the ranks.
    a, b = (intervals.concentration_of_prompts(d).value.round(DECIMALS) for d in data)
    pairs = pair(a, b)
    a, b = a[pairs.in_both], b[pairs.in_both]
    reach = 1 - min(map(intervals.lowest_concentration, data))
    low, high = other_prompts(pairs, -reach, reach, 1 - alpha)
    varied = len(a) > 2 and bool(np.ptp(a) > 0 and np.ptp(b) > 0)
    agreed = agreement(table)
    return AttributeAgreement(
        attribute=cross_name(names),
        labels=cells,
        table=table,
        agreement=agreed,
        top=disagreements(table, cells)[:_MAX_DISAGREEMENTS],
        concentration_a=float(a.mean()) if a.size else math.nan,
        concentration_b=float(b.mean()) if b.size else math.nan,
        change=float(pairs.difference.mean()) if a.size else math.nan,
        low=low,
        high=high,
        rank_correlation=float(spearmanr(a, b).statistic) if varied else math.nan,
        n_prompts=len(a),
        left_out=pairs.n_left_out,
        reason=_why_absent(agreed, len(a), varied=varied),
    )


def _why_absent(agreed: Agreement, prompts: int, *, varied: bool) -> str | None:
    """Return which numbers of an attribute are absent, and why. prompts: how many have enough faces in both runs."""
    reasons = []
    if not agreed.n:
        reasons.append("no agreement, as no face has a label of both")
    elif math.isnan(agreed.kappa):
        reasons.append("no kappa, as both give all faces one and the same label")
    if not prompts:
        reasons.append("no concentration, as no prompt has four labelled images in both runs")
    elif prompts < gaffke.FEWEST:
        reasons.append(f"no interval, as {gaffke.TOO_FEW}")
    if prompts and not varied:
        few = "three prompts are needed" if prompts < 3 else "all prompts have one value"
        reasons.append(f"no correlation of ranks, as {few}")
    return "; ".join(reasons) or None
