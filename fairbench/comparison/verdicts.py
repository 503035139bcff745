"""What may be claimed of each effect: p-values adjusted over their family, then the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fairbench.cards.cards import RESERVED
from fairbench.stats.intervals import Scope
from fairbench.stats.multiplicity import benjamini_hochberg, holm
from fairbench.stats.paired import Better
from fairbench.types import FloatArray

Claim = Literal["equivalent", "preserved"]
INCONCLUSIVE, NOT_SHOWN, WORSE, WITHHELD = "inconclusive", "not shown to be preserved", "worse", "withheld"


@dataclass(frozen=True, slots=True)
class Row:
    """One effect in one design: run minus baseline. NaN is written as null.

    run, baseline: letters. a, b: the means of baseline and run over the prompts used. p: sign-flip test for other
    prompts, normal for this list. primary: RD of a primary attribute. claim: what the margin is for; its
    p-values are small where the claim holds. left_out: common prompts with too few faces in either run. reason: why
    interval and p-values are withheld.
    """

    baseline: str
    run: str
    attribute: str
    estimand: str
    scope: Scope
    a: float
    b: float
    effect: float
    n_prompts: int
    left_out: int
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    primary: bool = False
    better: Better | None = None
    claim: Claim | None = None
    margin: float = math.nan
    p_equivalence: float = math.nan
    p_adjusted: float = math.nan
    p_equivalence_adjusted: float = math.nan
    verdict: str = ""
    reason: str | None = None

    @property
    def family(self) -> str:
        """Which family the difference is tested in."""
        return "primary" if self.primary and self.scope == "other prompts" else "exploratory"


def judged(rows: list[Row], alpha: float) -> list[Row]:
    """Return the rows with adjusted p-values and verdicts.

    Differences: Holm over the primary family (all runs), Benjamini-Hochberg over everything else. Claims by a margin:
    Holm over the claims of one kind and one design, those of primary attributes apart.
    """
    for family, adjust in (("primary", holm), ("exploratory", benjamini_hochberg)):
        rows = _adjusted(rows, [i for i, r in enumerate(rows) if r.family == family], "p", adjust)
    for group in dict.fromkeys((r.claim, r.scope, r.primary) for r in rows if r.claim is not None):
        members = [i for i, r in enumerate(rows) if (r.claim, r.scope, r.primary) == group]
        rows = _adjusted(rows, members, "p_equivalence", holm)
    return [replace(r, verdict=verdict(r, alpha)) for r in rows]


def _adjusted(rows: list[Row], members: list[int], field: str, adjust: Callable[[FloatArray], FloatArray]) -> list[Row]:
    """Return the rows with `field`_adjusted set for the members of one family."""
    adjusted = list(rows)
    if members:
        p_values = adjust(np.array([getattr(rows[i], field) for i in members]))
        for i, p_value in zip(members, p_values.tolist(), strict=True):
            adjusted[i] = replace(rows[i], **{f"{field}_adjusted": p_value})
    return adjusted


def verdict(row: Row, alpha: float) -> str:
    """Return the words for an effect whose p-values are adjusted. "Not significant" never reads as "equal"."""
    if row.reason is not None:
        return WITHHELD
    different, within = row.p_adjusted <= alpha, row.p_equivalence_adjusted <= alpha
    lower = row.effect < 0
    if row.claim == "preserved":
        if within:
            return f"preserved within {row.margin:g}"
        return WORSE if different and lower == (row.better == "higher") else NOT_SHOWN
    if different:
        side = f"{row.run} {'lower' if lower else 'higher'}"
        bias = row.better == "lower" and row.attribute not in RESERVED
        words = f" ({'less' if lower else 'more'} biased)" if bias else ""
        return f"{side}{words}{f', but within {row.margin:g}' if within else ''}"
    return f"equivalent within {row.margin:g}" if within else INCONCLUSIVE
