"""Margins: the largest differences that count as none. They stand in the task card, so they are declared beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairbench.cards import catalog
from fairbench.errors import CardError
from fairbench.runs.spec import DEFAULT_TASK

SHARE_OF_RANGE: Final = 0.05
"""The margin of RD where no card gives one, as a share of RD's largest value, 2/K: .05, .025, .0125 for K = 2, 4, 8."""


@dataclass(frozen=True, slots=True)
class Margins:
    """values: rd.ATTRIBUTE, or the name of a score or share -> its margin. source: where they are from, in words.

    A score or share without a margin has none: nobody declared what loss would be harmless.
    Raises CardError for a margin that is not positive.
    """

    values: Mapping[str, float]
    source: str

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not value > 0:
                raise CardError(f"{self.source}, field margins.{name}: {value} is no margin; it is above 0.")

    def rd(self, attribute: str, classes: int) -> float:
        """Return the margin of the RD of an attribute or cross of K classes."""
        return self.values.get(f"rd.{attribute}", SHARE_OF_RANGE * 2 / classes)


def of_task(name: str) -> Margins:
    """Return the margins of a task; those of the standard task where no card has that name."""
    has_card = name in catalog.find("tasks")
    task = name if has_card else DEFAULT_TASK
    source = f"task {task}" if has_card else f"task {task}, as no card of task {name} was found"
    return Margins(dict(catalog.load_task(task).card.margins), source)
