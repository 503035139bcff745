"""Image tokenizer: are images of one group turned into another, or lost, when they are encoded and decoded?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairbench.audit.estimates import CONFIDENCE, Estimate, nothing, share
from fairbench.audit.groups import Attribute
from fairbench.audit.images import NOBODY, Codes


@dataclass(frozen=True, slots=True)
class GroupPassage:
    """One group through the tokenizer.

    faces: its images in which a face was found before. agreement: share of them that are read alike after; a face that
    is gone counts as not alike. lost: share without a face after. arrivals: share of the *other* groups' faces that are
    read as this group after, but not before. right_before, right_after: share of all its images that are read as what
    they were given for. Limits of agreement and arrivals hold for all groups of the audit at once.
    """

    label: str
    images: int
    faces: int
    agreement: Estimate
    lost: Estimate
    arrivals: Estimate
    right_before: Estimate
    right_after: Estimate


@dataclass(frozen=True, slots=True)
class Passage:
    """One attribute through the tokenizer.

    confusion: (K, K + 1), the label read before by the label read after; the last column is no face. against_given: the
    same of all images, with the label that they were given in place of the one read before. gap, arrivals_gap: the
    largest difference of agreement, and of arrivals, between two groups: groups that leave alike can still all go to
    one. worse: the group whose deficit of agreement to some other is established; favoured: the group whose excess of
    arrivals is; else None.
    """

    attribute: str
    labels: tuple[str, ...]
    groups: list[GroupPassage]
    confusion: list[list[int]]
    against_given: list[list[int]]
    gap: Estimate
    arrivals_gap: Estimate
    worse: str | None
    favoured: str | None


def passage(attribute: Attribute, given: Codes, before: Codes, after: Codes, families: int) -> Passage:
    """Compare what is read before and after. given: the groups that the probe images were chosen for.

    families: groups of all attributes together, each with two intervals; each interval has confidence
    1 - 0.05 / (2 families) (Bonferroni), so that they hold together and any two groups may be compared.
    """
    classes, confidence = len(attribute.labels), 1 - (1 - CONFIDENCE) / (2 * families)
    confusion, against_given = np.zeros((2, classes, classes + 1), dtype=np.int64)
    seen = before != NOBODY
    np.add.at(confusion, (before[seen], after[seen]), 1)  # NOBODY is -1, the last column
    np.add.at(against_given, (given, after), 1)
    groups = []
    for k, label in enumerate(attribute.labels):
        faces, others, images = seen & (given == k), seen & (given != k), given == k
        arrived = others & (after == k) & (before != k)
        groups.append(
            GroupPassage(
                label, int(images.sum()), int(faces.sum()), _share(before == after, faces, confidence),
                _share(after == NOBODY, faces, confidence), _share(arrived, others, confidence),
                _share(before == k, images, confidence), _share(after == k, images, confidence),
            )
        )  # fmt: skip
    known = [g for g in groups if g.faces]
    gap, arrivals_gap = (_gap(rates) for rates in ([g.agreement for g in known], [g.arrivals for g in known]))
    # The group whose difference is established need not have the most extreme value: that one may have few faces.
    worst = min(known, key=lambda g: g.agreement.high, default=None)
    most = max(known, key=lambda g: g.arrivals.low, default=None)
    return Passage(
        attribute.name, attribute.labels, groups, confusion.tolist(), against_given.tolist(), gap, arrivals_gap,
        worst.label if worst is not None and gap.low > 0 else None,
        most.label if most is not None and arrivals_gap.low > 0 else None,
    )  # fmt: skip


def _share(hit: NDArray[np.bool_], among: NDArray[np.bool_], confidence: float) -> Estimate:
    return share(int((hit & among).sum()), int(among.sum()), confidence)


def _gap(rates: list[Estimate]) -> Estimate:
    n = sum(r.n for r in rates)
    if len(rates) < 2:
        return nothing(n)
    values = [r.value for r in rates]
    least = max(a.low - b.high for a in rates for b in rates)
    most = max(r.high for r in rates) - min(r.low for r in rates)
    return Estimate(max(values) - min(values), max(least, 0.0), most, n)
