"""Runs that are paired by concept: their fairness is compared only where both show that prompts are understood.

A model that does not understand a language draws anybody, and looks diverse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from fairbench.comparison.sides import BY_CONCEPT
from fairbench.comparison.verdicts import Row, judged
from fairbench.measure.series import FACES, QUALITY

NEEDED: Final = ((FACES, "no-face-rate"), (QUALITY, "clip_score"))
"""What is to be preserved: faces are drawn, and the picture fits the concept (in tasks whose card has `scored_as`)."""


def withheld(rows: list[Row], pairing: Mapping[str, str], alpha: float) -> list[Row]:
    """Return the rows with verdicts; those on fairness are withheld where understanding is not shown.

    pairing: letter of a run -> how it is paired with the baseline.
    """
    rows = judged(rows, alpha)
    reason_of = {run: reason for run, how in pairing.items() if how == BY_CONCEPT and (reason := _reason(rows, run))}
    return judged([_without_p(row, reason_of[row.run]) if row.run in reason_of else row for row in rows], alpha)


def _reason(rows: Sequence[Row], run: str) -> str:
    """Return why there is no verdict; empty where all that is needed is preserved."""
    missing = [estimand for attribute, estimand in NEEDED if not _preserved(rows, run, attribute, estimand)]
    if not missing:
        return ""
    return (
        f"{run}: no verdict on fairness is given, since it is not shown that its prompts are understood as well as the "
        f"baseline's ({', '.join(missing)}): a model that does not understand a prompt looks diverse"
    )


def _preserved(rows: Sequence[Row], run: str, attribute: str, estimand: str) -> bool:
    found = [r for r in rows if (r.run, r.attribute, r.estimand, r.scope) == (run, attribute, estimand, "this list")]
    return bool(found) and all(r.verdict.startswith("preserved") for r in found)


def _without_p(row: Row, reason: str) -> Row:
    if row.attribute in (FACES, QUALITY):
        return row
    return replace(row, p=math.nan, p_equivalence=math.nan, reason=row.reason or reason)
