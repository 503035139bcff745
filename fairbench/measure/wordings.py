"""Subjects that a task asks for in several wordings: how much of the shares, and of the order, is the wording's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairbench.measure.quantities import THIS_LIST, Attribute, Quantity
from fairbench.stats import crossed
from fairbench.storage.ids import IntArray
from fairbench.types import Prompt

SHARE: Final = "variance-share"
TOTAL: Final = "variance[prompts]"
RANKS: Final = "wording-ranks"
UNMOVED: Final = "unmoved"
FIELLER: Final = "Fieller's, images redrawn"
LOGARITHM: Final = "normal of the logarithm, images redrawn"
DEALT: Final = "95 % of draws: a subject's images dealt out anew among its wordings"
NO_VARIANCE: Final = "prompts are not shown to differ: there is no variance to divide"
_FEW: Final = "two subjects with two images with a face in every wording are needed"
_FEW_RANKS: Final = "three subjects of which not all tie are needed"


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """S subjects in W wordings. cells: (S, W), which prompt it is. left_out: subjects that lack a wording."""

    cells: IntArray
    subjects: list[str]
    wordings: list[str]
    left_out: int


def crossing(prompts: Sequence[Prompt]) -> Crossing | None:
    """Return the subjects that stand in every wording of a task; None where fewer than two wordings share two.

    A wording is a template, or a grammatical form; a subject is its concept where it has one. Prompts that state
    attributes are other questions, not other wordings.
    """
    if any(prompt.stated for prompt in prompts):
        return None
    wordings = list(dict.fromkeys(map(_wording, prompts)))
    cells: dict[str, dict[str, int]] = {}
    for index, prompt in enumerate(prompts):
        row = cells.setdefault(prompt.concept or prompt.subject, {})
        if _wording(prompt) in row:
            return None
        row[_wording(prompt)] = index
    whole = {subject: row for subject, row in cells.items() if len(row) == len(wordings)}
    if len(whole) < 2 or len(wordings) < 2:
        return None
    table = np.array([[row[wording] for wording in wordings] for row in whole.values()], dtype=np.int64)
    return Crossing(table, list(whole), wordings, len(cells) - len(whole))


def _wording(prompt: Prompt) -> str:
    return ", ".join(part for part in (prompt.template_id, prompt.form) if part)


def of_attribute(attribute: Attribute, found: Crossing | None) -> Iterator[Quantity]:
    """Yield the parts of the variance of shares over prompts, and how far ranks by concentration agree."""
    if found is None:
        return
    parts = crossed.decompose(attribute.data, found.cells)
    without = _without(parts.subjects, len(found.subjects) + found.left_out)
    reason = _FEW if np.isnan(parts.total) else without
    # The number of prompts that is used, as in all rows.
    counted = {"prompts": parts.subjects * len(found.wordings)}
    limits = {"low": parts.low, "high": parts.high, "ci_method": LOGARITHM}
    yield Quantity(TOTAL, "raw", THIS_LIST, parts.total, columns={**counted, **limits, "reason": reason})
    if not np.isnan(parts.total) and np.isnan(parts.shares).all():
        reason = NO_VARIANCE
    for i, name in enumerate(crossed.PARTS):
        limits = {"low": float(parts.lows[i]), "high": float(parts.highs[i]), "ci_method": FIELLER}
        columns = {**counted, **limits, "reason": reason}
        yield Quantity(f"{SHARE}[{name}]", "raw", THIS_LIST, float(parts.shares[i]), columns=columns)
    ranks = crossed.ranks_of_concentration(attribute.data, found.cells, np.random.default_rng([*attribute.seed, 2]))
    reason = _FEW_RANKS if np.isnan(ranks.value) else without
    yield Quantity(RANKS, "raw", THIS_LIST, ranks.value, columns={**counted, "reason": reason})
    columns = {**counted, "low": ranks.low, "high": ranks.high, "ci_method": DEALT, "reason": reason}
    yield Quantity(RANKS, UNMOVED, THIS_LIST, ranks.unmoved, columns=columns)


def _without(used: int, subjects: int) -> str | None:
    if used == subjects:
        return None
    return f"over {used} of {subjects} subjects; the others lack a wording, or two images with a face in one"
