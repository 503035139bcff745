"""Prompts that state attributes: how many of their faces show what they state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.counts import Counts
from fairbench.storage.ids import IntArray
from fairbench.types import Prompt


@dataclass(frozen=True, slots=True)
class Followed:
    """P prompts. right: faces that show all that their prompt states, (P,). of: faces with these labels, (P,).

    reasons: why a prompt has no such faces: it states nothing, or something that the labeller does not tell.
    """

    right: IntArray
    of: IntArray
    reasons: list[str | None]


def followed(counts: Counts, prompts: Sequence[Prompt]) -> Followed | None:
    """Return how far prompts are followed; None where no prompt states anything."""
    if not any(p.stated for p in prompts):
        return None
    right, of = (np.zeros(len(prompts), dtype=np.int64) for _ in range(2))
    reasons = [_unknown(counts.labeller, p.stated) for p in prompts]
    tables: dict[tuple[str, ...], IntArray] = {}
    for i, prompt in enumerate(prompts):
        if reasons[i] is not None:
            continue
        names = tuple(prompt.stated)
        if names not in tables:
            tables[names] = counts.of(names)
        row, labels = tables[names][i], counts.labeller.declared.labels
        joint_class = 0
        for name, label in prompt.stated.items():
            joint_class = joint_class * len(labels[name]) + labels[name].index(label)
        right[i], of[i] = row[joint_class], row.sum()
        reasons[i] = None if of[i] else "no faces"
    return Followed(right, of, reasons)


def _unknown(space: LabelSpace, stated: Mapping[str, str]) -> str | None:
    if not stated:
        return "states nothing"
    labels = space.declared.labels
    for name, label in stated.items():
        if label not in labels.get(name, ()):
            return f"the labeller has no {name} {label!r}"
    sources = [space.card.attributes[name].source or name for name in stated]
    return None if len(set(sources)) == len(sources) else f"{' and '.join(stated)} are one attribute of the labeller"
