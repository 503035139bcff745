"""Two labellers on the same images: how often they agree, where they don't, and what that does to RD and ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import pyarrow as pa
from scipy.stats import spearmanr

from fairbench.comparison.effects import LEAST_FACES, common_faces
from fairbench.comparison.sides import Side, rows, shared_attributes
from fairbench.labelling.labeller import NOT_LABELLED, LabelSpace, Reading
from fairbench.measure import gather
from fairbench.measure.counts import attributes, cross_name
from fairbench.runs import evidence
from fairbench.stats import estimands
from fairbench.stats.agreement import Agreement, Disagreement, agreement, disagreements
from fairbench.stats.paired import effect_random, pair
from fairbench.stats.ranking import DECIMALS
from fairbench.stats.units import as_units
from fairbench.storage import schemas
from fairbench.storage.ids import IdIndex, IntArray
from fairbench.storage.store import Store

BY_FACE, BY_IMAGE = "face (one detector)", "image (primary face)"
_MOST: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class AttributeAgreement:
    """Two labellers on one attribute or cross. table (K, K): faces, rows A's label, columns B's.

    top: the most frequent disagreements. rd_a, rd_b: mean RD at the smaller face count, over n_prompts prompts; change
    (B - A) with its interval for prompts like these. rank_correlation: Spearman's, of the prompts' RD; NaN where one
    labeller gives all prompts one RD.
    """

    attribute: str
    labels: tuple[str, ...]
    table: IntArray
    agreement: Agreement
    top: list[Disagreement]
    rd_a: float
    rd_b: float
    change: float
    low: float
    high: float
    rank_correlation: float
    n_prompts: int
    left_out: int
    reason: str | None = None
    """Why some of these numbers are absent."""


@dataclass(frozen=True, slots=True)
class LabellerComparison:
    """matched: faces that both labelled; alone: letter to how many faces only that run counted or could be matched.

    skipped: attributes that the labellers do not share.
    """

    sides: list[Side]
    alpha: float
    matched_by: str
    matched: int
    alone: dict[str, int]
    attributes: list[AttributeAgreement]
    skipped: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Labelled:
    """The counted faces (N,) of a run; their images are places among the sorted image ids."""

    space: LabelSpace
    ids: pa.Array
    reading: Reading

    def classes(self, names: Sequence[str], labels: dict[str, tuple[str, ...]]) -> IntArray:
        """Return each face's class (N,) among the combinations of `labels`; NOT_LABELLED where a label is missing.

        labels: those of this labeller in any order.
        """
        sizes = [len(labels[name]) for name in names]
        own = product(*(self.space.declared.labels[name] for name in names))
        class_of = [
            np.ravel_multi_index([labels[n].index(w) for n, w in zip(names, words, strict=True)], sizes)
            for words in own
        ]
        return np.array([*class_of, NOT_LABELLED])[self.space.classes_of(names, self.reading.codes)]


def compare(a: Side, b: Side, alpha: float) -> LabellerComparison:
    """Compare the labellers of two runs of the same images. Raises StoreError where the evidence is damaged."""
    same_detector = a.run.record["keys"]["faces"] == b.run.record["keys"]["faces"]
    one, two = (_labelled(side, primary=not same_detector) for side in (a, b))
    at_a = IdIndex(one.ids).find(two.ids) if same_detector else _by_image(one, two)
    both = at_a >= 0
    names = shared_attributes(a, b)
    found = [_agreement(a, b, n, one, two, at_a[both], np.flatnonzero(both), alpha) for n in names]
    every = {cross_name(n): None for s in (a, b) for n in attributes(s.run.counts.labeller) if n not in names}
    matched = int(both.sum())
    alone = {a.letter: len(one.reading.image) - matched, b.letter: len(two.reading.image) - matched}
    return LabellerComparison([a, b], alpha, BY_FACE if same_detector else BY_IMAGE, matched, alone, found, list(every))


def _labelled(side: Side, *, primary: bool) -> _Labelled:
    """Read the counted faces and their labels from a run's evidence. primary: only each image's largest face."""
    run, space = side.run, side.run.counts.labeller
    policy = space.card.face_policy.model_copy(update={"select": "largest"}) if primary else None
    images = pa.array(sorted(row.request.image_id for row in run.rows), schemas.ID)
    keys = run.record["keys"]
    store = Store(run.folder / evidence.FOLDER, look_only=True)
    reading, ids = gather.read(store, space, keys["faces"], keys["labels"], images, policy)
    return _Labelled(space, ids, reading)


def _by_image(one: _Labelled, two: _Labelled) -> IntArray:
    """Return, for each face of the second, the place of the first's face in the same image; -1: it has none."""
    place = np.full(1 + max(one.reading.image.max(initial=0), two.reading.image.max(initial=0)), -1)
    place[one.reading.image] = np.arange(len(one.reading.image))
    return np.asarray(place[two.reading.image])


def _agreement(a: Side, b: Side, names: tuple[str, ...], one: _Labelled, two: _Labelled, at_a: IntArray,
               at_b: IntArray, alpha: float) -> AttributeAgreement:  # fmt: skip
    declared = {name: tuple(one.space.declared.labels[name]) for name in names}
    labels = tuple(" ".join(c) for c in product(*declared.values()))
    first, second = one.classes(names, declared)[at_a], two.classes(names, declared)[at_b]
    known, k = (first >= 0) & (second >= 0), len(labels)
    table = np.bincount(first[known] * k + second[known], minlength=k * k).reshape(k, k)
    data = [side.data(names) for side in (a, b)]
    n0, enough = common_faces(data)
    # Rounded, so that prompts that tie do tie in the ranks.
    rd_a, rd_b = (estimands.rd_at(as_units(rows(d, enough)).counts, n0[enough]).round(DECIMALS) for d in data)
    effect = effect_random(pair(rd_a, rd_b))
    low, high = effect.interval(1 - alpha)
    varied = len(rd_a) > 2 and np.ptp(rd_a) > 0 and np.ptp(rd_b) > 0
    agreed = agreement(table)
    return AttributeAgreement(
        cross_name(names), labels, table, agreed, disagreements(table, labels)[:_MOST],
        float(rd_a.mean()) if rd_a.size else math.nan, float(rd_b.mean()) if rd_b.size else math.nan,
        effect.estimate, low, high, float(spearmanr(rd_a, rd_b).statistic) if varied else math.nan,
        len(rd_a), int((~enough).sum()), _why_absent(agreed, len(rd_a), varied=bool(varied)),
    )  # fmt: skip


def _why_absent(agreed: Agreement, prompts: int, *, varied: bool) -> str | None:
    """Say which numbers of an attribute cannot be computed, and why. prompts: those with enough faces in both runs."""
    reasons = []
    if not agreed.n:
        reasons.append("no agreement, as no face has a label of both")
    elif math.isnan(agreed.kappa):
        reasons.append("no kappa, as both give all faces one and the same label")
    if not prompts:
        reasons.append(f"no rd, as no prompt has {LEAST_FACES} labelled faces in both runs")
    elif prompts == 1:
        reasons.append(f"no interval, as only one prompt has {LEAST_FACES} labelled faces in both runs")
    if prompts and not varied:
        few = "three prompts are needed" if prompts < 3 else "all prompts have one rd"
        reasons.append(f"no correlation of ranks, as {few}")
    return "; ".join(reasons) or None
