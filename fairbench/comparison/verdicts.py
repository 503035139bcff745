"""What may be claimed of each effect: p-values adjusted over their family, then the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from fairbench.stats.intervals import Scope
from fairbench.stats.multiplicity import benjamini_hochberg, holm
from fairbench.stats.paired import Better
from fairbench.types import FloatArray

Claim = Literal["equivalent", "preserved", "equally concentrated", "same groups"]
INCONCLUSIVE, WORSE, WITHHELD, NOT_TESTED = "inconclusive", "worse", "withheld", "not tested"
CONCENTRATION, ROOT, TOTAL_VARIATION, RD = "concentration", "root-concentration", "total-variation", "rd@n0"
PRIMARY: Final = (CONCENTRATION, ROOT, TOTAL_VARIATION)
"""Estimands that decisions on the primary attributes rest on."""


@dataclass(frozen=True, slots=True)
class Row:
    """One effect in one scope: run minus baseline. NaN is written as null.

    run, baseline: letters. a, b: the means of baseline and run over the prompts used. p: of the difference, normal,
    over the images of this list; other prompts have an interval alone. primary: of a primary attribute. claim: what
    the margin is for; its p-values are small where the claim holds. left_out: common prompts with too few faces in
    either run. reason: why interval or p-values are withheld.
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
        tested = self.primary and self.estimand == CONCENTRATION and self.scope == "this list"
        return "primary" if tested else "exploratory"


def judged(rows: list[Row], alpha: float) -> list[Row]:
    """Return the rows with adjusted p-values and verdicts.

    Differences: Holm over the primary family (all runs), Benjamini-Hochberg over everything else. Claims by a margin:
    Holm over the claims of one kind, those of primary attributes apart.
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
    if math.isnan(row.p) and math.isnan(row.p_equivalence):
        return WITHHELD if row.reason is not None else NOT_TESTED
    different, within = row.p_adjusted <= alpha, row.p_equivalence_adjusted <= alpha
    lower = row.effect < 0
    if row.claim == "preserved":
        if within:
            return f"preserved within {row.margin:g}"
        return WORSE if different and lower == (row.better == "higher") else "not shown to be preserved"
    if row.claim in ("equally concentrated", "same groups"):
        return f"{row.claim} within {row.margin:g}" if within else f"not shown: {row.claim} within {row.margin:g}"
    if different:
        words = (
            ("less concentrated", "more concentrated")
            if row.estimand.startswith(CONCENTRATION)
            else ("lower", "higher")
        )
        return f"{row.run} {words[not lower]}{f', but within {row.margin:g}' if within else ''}"
    return f"equivalent within {row.margin:g}" if within else INCONCLUSIVE
