"""The power of the two claims that two models are equal, at the counts of a design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fairbench.comparison import margins
from fairbench.errors import FairbenchError
from fairbench.planning.design import Design
from fairbench.planning.rows import Row
from fairbench.stats.equivalence_power import Claims, EquivalencePower, equivalence_power
from fairbench.stats.power import MIN_FACES


@dataclass(frozen=True, slots=True)
class EquivalenceRow:
    """An attribute's claims, and how often they are shown of two runs of one model: a balanced one, and run A."""

    attribute: str
    classes: int
    claims: Claims
    balanced: EquivalencePower
    like_run_a: EquivalencePower

    def record(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return {
            **asdict(self),
            "claims": self.claims._asdict(),
            "balanced": self.balanced._asdict(),
            "like_run_a": self.like_run_a._asdict(),
        }


def check(design: Design) -> None:
    """Raise FairbenchError for a scope that has no test of equivalence."""
    if design.scope != "this list":
        raise FairbenchError("--equivalence plans claims about this list: leave out --scope.")


def planned(task: str, rows: Sequence[Row], design: Design) -> list[EquivalenceRow]:
    """Return the claims' power for each attribute. Raises FairbenchError for too few images."""
    if min(design.images * row.plan.face_rate for row in rows) < MIN_FACES:
        raise FairbenchError(f"--images-per-prompt {design.images}: a comparison takes {MIN_FACES} faces per prompt.")
    of_task = margins.of_task(task)
    table = []
    for row in rows:
        name, classes, plan = row.attribute, row.classes, row.plan
        claims = Claims(of_task.concentration(name, classes), of_task.groups(name, classes), design.level)
        balanced = plan.as_read(np.full((1, classes), 1 / classes))
        powers = [
            equivalence_power(shares, claims, design.prompts, design.images, plan.face_rate)
            for shares in (balanced, plan.as_read(plan.typical))
        ]
        table.append(EquivalenceRow(name, classes, claims, *powers))
    return table
