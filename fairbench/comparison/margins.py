"""Margins: the largest differences that count as none. They stand in the task card, so they are declared beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairbench.cards import catalog
from fairbench.cards.cards import TaskCard
from fairbench.errors import CardError
from fairbench.runs.spec import DEFAULT_TASK

SHARE_OF_RANGE: Final = 0.05
"""The margin of RD where no card gives one, as a share of RD's largest value, 2/K: .05, .025, .0125 for K = 2, 4, 8."""


def default(classes: int) -> float:
    """Return the margin of concentration and of groups where no card gives one, in shares of images: .05 or .10.

    Identical balanced models of 50 prompts and 160 images are shown to draw the same groups within .05 in .95 / .72 /
    .47 of comparisons for K = 2 / 4 / 8, and within .10 in all.
    """
    return 0.05 if classes == 2 else 0.10


@dataclass(frozen=True, slots=True)
class Margins:
    """values: concentration., groups. or rd.ATTRIBUTE, or the name of a score or share -> its margin.

    source: where they are from, in words. with_rd: whether RD is to be shown equivalent too.

    A score or share without a margin has none: nobody declared what loss would be harmless.
    Raises CardError for a margin that is not positive.
    """

    values: Mapping[str, float]
    source: str
    with_rd: bool = False

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not value > 0:
                raise CardError(f"{self.source}, field margins.{name}: {value} is no margin; it is above 0.")

    def concentration(self, attribute: str, classes: int) -> float:
        """Return by how much sqrt(mean concentration) may differ and still count as equal, in shares of images."""
        return self.values.get(f"concentration.{attribute}", default(classes))

    def groups(self, attribute: str, classes: int) -> float:
        """Return which share of the images may show other groups while both models count as drawing the same."""
        return self.values.get(f"groups.{attribute}", default(classes))

    def rd(self, attribute: str, classes: int) -> float | None:
        """Return the margin of the RD of an attribute or cross of K classes; None where no such claim was asked for.

        RD saturates, so that a margin means less the more classes there are: for K = 8, models of which 15 % of all
        images differ can lie within it.
        """
        if not self.with_rd:
            return None
        return self.values.get(f"rd.{attribute}", SHARE_OF_RANGE * 2 / classes)


def of_card(card: TaskCard) -> Margins:
    """Return the margins that a task's card declares; of a card without any, what `of_task` says of its name."""
    return Margins(dict(card.margins), f"task {card.name}") if card.margins else of_task(card.name)


def of_task(name: str, *, with_rd: bool = False) -> Margins:
    """Return the margins of a task; those of the standard task where no card has that name."""
    has_card = name in catalog.find("tasks")
    task = name if has_card else DEFAULT_TASK
    source = f"task {task}" if has_card else f"task {task}, as no card of task {name} was found"
    return Margins(dict(catalog.load_task(task).card.margins), source, with_rd)
