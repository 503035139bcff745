"""Prompts that state attributes: how many of their faces show what they state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.counts import Counts
from fairbench.stats import following
from fairbench.stats.units import Units
from fairbench.storage.ids import IntArray
from fairbench.types import Prompt

STRENGTHS: Final = ("by definition", "by custom")
"""Categories of prompts whose words or setting leave an attribute hardly open. What they "state" is the customary
reading of them: a description, and never what would be correct."""
NOTHING: Final = "states nothing"
Stated = Mapping[str, str]


@dataclass(frozen=True)
class Followed:
    """P prompts. pairs: their images by the faces that show all that is stated, and by other faces with these labels.

    reasons: why a prompt has no such faces: it states nothing, or something that the labeller does not tell.
    """

    pairs: Units
    reasons: list[str | None]

    @cached_property
    def right(self) -> IntArray:
        """Faces that show all that their prompt states, (P,)."""
        return np.asarray(self.pairs.counts[:, 0], dtype=np.int64)

    @cached_property
    def of(self) -> IntArray:
        """Faces with the labels that this takes, (P,)."""
        return np.asarray(self.pairs.counts.sum(axis=1), dtype=np.int64)


def is_customary(prompt: Prompt) -> bool:
    """Return whether what is stated of a prompt is its customary reading, and no instruction."""
    return prompt.category in STRENGTHS


def followed(counts: Counts, prompts: Sequence[Prompt]) -> Followed | None:
    """Return how far prompts are followed; None where no prompt states anything as an instruction."""
    stated: list[Stated] = [{} if is_customary(p) else p.stated for p in prompts]
    return read(counts, stated) if any(stated) else None


def customary(counts: Counts, prompts: Sequence[Prompt]) -> dict[str, Followed]:
    """Return strength -> how many faces show the customary reading of its prompts; no strength without prompts."""
    stated_of: dict[str, list[Stated]] = {s: [p.stated if p.category == s else {} for p in prompts] for s in STRENGTHS}
    return {strength: read(counts, stated) for strength, stated in stated_of.items() if any(stated)}


def read(counts: Counts, stated: Sequence[Stated]) -> Followed:
    """Return the faces that show what is stated of each prompt (P), and those that do not."""
    reasons = [unknown(counts.labeller, of_prompt) for of_prompt in stated]
    labels, parts = counts.labeller.declared.labels, list[Units]()
    names_of = [tuple(s) if reason is None else () for s, reason in zip(stated, reasons, strict=True)]
    for names in dict.fromkeys(filter(None, names_of)):
        shape = [len(labels[name]) for name in names]
        member = np.zeros((len(stated), int(np.prod(shape))), dtype=bool)
        for i in (i for i, of_prompt in enumerate(names_of) if of_prompt == names):
            member[i, np.ravel_multi_index([labels[n].index(stated[i][n]) for n in names], shape)] = True
        pairs = following.in_two(counts.data(names), member)
        parts.append(Units(pairs.kinds, pairs.times * member.any(axis=1, keepdims=True)))
    none = Units(np.eye(2, dtype=np.int64), np.zeros((len(stated), 2), dtype=np.int64))
    kinds, times = (
        np.concatenate([getattr(u, n) for u in (none, *parts)], axis=i) for i, n in enumerate(("kinds", "times"))
    )
    result = Followed(Units(kinds, times), reasons)
    for i in np.flatnonzero(result.of == 0).tolist():
        reasons[i] = reasons[i] or "no faces"
    return result


def unknown(space: LabelSpace, stated: Stated) -> str | None:
    """Return why a labeller cannot tell whether a face shows what is stated; None where it can."""
    if not stated:
        return NOTHING
    labels = space.declared.labels
    for name, label in stated.items():
        if label not in labels.get(name, ()):
            return f"the labeller has no {name} {label!r}"
    sources = [space.card.attributes[name].source or name for name in stated]
    return None if len(set(sources)) == len(sources) else f"{' and '.join(stated)} are one attribute of the labeller"
