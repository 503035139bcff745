"""Margins: the differences that count as none. They live in the task card, so that they are declared beforehand."""

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
    """values: rd.ATTRIBUTE, and the name of a score or rate, to its margin. source: the words for where they are from.

    Raises CardError for a margin that is not positive.
    """

    values: Mapping[str, float]
    source: str

    def __post_init__(self) -> None:
        wrong = next((name for name, value in self.values.items() if not value > 0), None)
        if wrong is not None:
            raise CardError(f"{self.source}, field margins.{wrong}: {self.values[wrong]} is no margin; it is above 0.")

    def rd(self, attribute: str, classes: int) -> float:
        """Return the margin of the RD of an attribute or cross of K classes."""
        return self.values.get(f"rd.{attribute}", SHARE_OF_RANGE * 2 / classes)

    def quality(self, name: str) -> float | None:
        """Return the margin of a score or rate; None: nobody said what loss would be harmless."""
        return self.values.get(name)


def of_task(name: str) -> Margins:
    """Return the margins of a task; those of the standard task where no card of that name is found."""
    known = catalog.find("tasks")
    source = name if name in known else DEFAULT_TASK
    words = f"task {source}" if source == name else f"task {source}, as no card of task {name} was found"
    return Margins(dict(catalog.load_task(source).card.margins), words)
