"""Image tokenizer: are images of one group turned into another, or lost, when they are encoded and decoded?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairbench.audit.estimates import CONFIDENCE, Estimate, nothing, share
from fairbench.audit.groups import Attribute
from fairbench.audit.images import NOBODY, Codes


@dataclass(frozen=True, slots=True)
class GroupPassage:
    """One group through the tokenizer.

    faces: its images in which a face was found before. agreement: share of them that are read alike after; a face that
    is gone counts as not alike. lost: share without a face after. right_before, right_after: share of all its images
    that are read as what they were given for. Limits hold for all groups of the audit at once.
    """

    label: str
    images: int
    faces: int
    agreement: Estimate
    lost: Estimate
    right_before: Estimate
    right_after: Estimate


@dataclass(frozen=True, slots=True)
class Passage:
    """One attribute through the tokenizer.

    confusion: (K, K + 1), the label read before by the label read after; the last column is no face. against_given: the
    same of all images, with the label that they were given in place of the one read before. gap: the largest
    difference of agreement between two groups. worse: the group with the least agreement, where its deficit to some
    other group is established; else None.
    """

    attribute: str
    labels: tuple[str, ...]
    groups: list[GroupPassage]
    confusion: list[list[int]]
    against_given: list[list[int]]
    gap: Estimate
    worse: str | None


def passage(attribute: Attribute, given: Codes, before: Codes, after: Codes, families: int) -> Passage:
    """Compare what is read before and after. given: the groups that the probe images were chosen for.

    families: groups of all attributes together; each interval has confidence 1 - 0.05 / families (Bonferroni), so that
    they hold together and any two groups may be compared.
    """
    classes, confidence = len(attribute.labels), 1 - (1 - CONFIDENCE) / families
    confusion, against_given = np.zeros((2, classes, classes + 1), dtype=np.int64)
    seen = before != NOBODY
    np.add.at(confusion, (before[seen], after[seen]), 1)  # NOBODY is -1, the last column
    np.add.at(against_given, (given, after), 1)
    groups = []
    for k, label in enumerate(attribute.labels):
        faces = seen & (given == k)
        n, images = int(faces.sum()), int((given == k).sum())
        alike, lost = int((before == after)[faces].sum()), int((after[faces] == NOBODY).sum())
        right = (share(int((read[given == k] == k).sum()), images, confidence) for read in (before, after))
        groups.append(GroupPassage(label, images, n, share(alike, n, confidence), share(lost, n, confidence), *right))
    gap = _gap([g.agreement for g in groups if g.faces], len(given))
    # The group whose deficit is established, which need not be the one with the lowest value: that may have few faces.
    worst = min((g for g in groups if g.faces), key=lambda g: g.agreement.high, default=None)
    worse = worst.label if worst is not None and gap.low > 0 else None
    return Passage(attribute.name, attribute.labels, groups, confusion.tolist(), against_given.tolist(), gap, worse)


def _gap(rates: list[Estimate], n: int) -> Estimate:
    if len(rates) < 2:
        return nothing(n)
    values = [r.value for r in rates]
    least = max(a.low - b.high for a in rates for b in rates)
    most = max(r.high for r in rates) - min(r.low for r in rates)
    return Estimate(max(values) - min(values), max(least, 0.0), most, n)
