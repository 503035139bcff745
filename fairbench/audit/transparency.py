"""Image tokenizer: are images of one group turned into another, or lost, when they are encoded and decoded?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairbench.audit.estimates import CONFIDENCE, Estimate, no_estimate, share
from fairbench.audit.groups import Attribute
from fairbench.audit.images import Codes
from fairbench.labelling.labeller import NOT_LABELLED


@dataclass(frozen=True, slots=True)
class GroupPassage:
    """One group through the tokenizer.

    faces: its images in which a face was found before. agreement: share of them with the same label after; a face that
    is gone counts as a disagreement. lost: share without a face after. arrivals: share of the *other* groups' faces
    that are labelled as this group after, but not before. right_before, right_after: share of all its images with the
    label that they were given. The limits of agreement and arrivals hold for all groups of the audit at once.
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

    confusion: (K, K + 1), the label before by the label after; the last column is no face. against_given: the same of
    all images, with the given label in place of the one before. gap, arrivals_gap: the largest difference of agreement,
    and of arrivals, between two groups: groups that leave at the same rate can still all go to one. worse: the group
    whose deficit of agreement to some other is established; favoured: the group whose excess of arrivals is; else None.
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
    """Compare the labels before and after, each (images,). given: the labels that the probe images come with.

    families: groups of all attributes together, each with two intervals; each interval has confidence
    1 - 0.05 / (2 families) (Bonferroni), so that they hold together and any two groups may be compared.
    """
    classes, confidence = len(attribute.labels), 1 - (1 - CONFIDENCE) / (2 * families)
    confusion, against_given = np.zeros((2, classes, classes + 1), dtype=np.int64)
    has_face = before != NOT_LABELLED
    np.add.at(confusion, (before[has_face], after[has_face]), 1)  # NOT_LABELLED is -1, the last column
    np.add.at(against_given, (given, after), 1)
    groups = []
    for k, label in enumerate(attribute.labels):
        images = given == k
        faces, others = has_face & images, has_face & ~images
        groups.append(
            GroupPassage(
                label,
                int(images.sum()),
                int(faces.sum()),
                agreement=_share(before == after, faces, confidence),
                lost=_share(after == NOT_LABELLED, faces, confidence),
                arrivals=_share((after == k) & (before != k), others, confidence),
                right_before=_share(before == k, images, confidence),
                right_after=_share(after == k, images, confidence),
            )
        )
    with_faces = [g for g in groups if g.faces]
    gap = _gap([g.agreement for g in with_faces])
    arrivals_gap = _gap([g.arrivals for g in with_faces])
    # The group whose difference is established need not have the most extreme value: that one may have few faces.
    worst = min(with_faces, key=lambda g: g.agreement.high).label if gap.low > 0 else None
    favoured = max(with_faces, key=lambda g: g.arrivals.low).label if arrivals_gap.low > 0 else None
    tables = confusion.tolist(), against_given.tolist()
    return Passage(attribute.name, attribute.labels, groups, *tables, gap, arrivals_gap, worst, favoured)


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_], confidence: float) -> Estimate:
    return share(int((hits & among).sum()), int(among.sum()), confidence, "other images")


def _gap(shares: list[Estimate]) -> Estimate:
    """Return the largest difference between two of the shares, which hold at once, with its limits."""
    n = sum(s.n for s in shares)
    if len(shares) < 2:
        return no_estimate(n)
    values = [s.value for s in shares]
    low = max(a.low - b.high for a in shares for b in shares)
    high = max(s.high for s in shares) - min(s.low for s in shares)
    return Estimate(max(values) - min(values), max(low, 0.0), high, n, "other images")
