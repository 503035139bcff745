"""What a comparison rests on: that the labeller reads both models' images equally well. How wrong may that be?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fairbench.comparison.sides import Side, of_prompts, primary_attributes
from fairbench.comparison.verdicts import Row
from fairbench.display.labels import spaced
from fairbench.display.numbers import number
from fairbench.measure.counts import cross_name
from fairbench.stats import distance, tipping

ASSUMED: Final = "Assumes that all models' images are read equally well."
Errors = Literal["evenly", "towards the majority"]


@dataclass(frozen=True, slots=True)
class Tipping:
    """Where a shown difference disappears: if `worse` is read worse, in shares of its images, the two are alike.

    evenly: the less concentrated run's errors are spread over the other classes. majority: the more concentrated run's
    errors go to each prompt's majority; NaN where none could explain the difference. run: that which is compared.
    """

    run: str
    attribute: str
    less: str
    more: str
    evenly: float
    majority: float

    @property
    def smaller(self) -> tuple[float, str, Errors]:
        """The smaller of the two, the letter of the run that is read worse, and how its errors fall."""
        if self.majority < self.evenly:
            return self.majority, self.more, "towards the majority"
        return self.evenly, self.less, "evenly"


def tipping_points(sides: Sequence[Side], rows: Sequence[Row], alpha: float) -> Iterator[Tipping]:
    """Yield where each shown difference in the concentration of a primary attribute disappears."""
    side_of = {side.letter: side for side in sides}
    names_of = {cross_name(names): names for names in primary_attributes(sides[0])}
    for row in rows:
        if row.family != "primary" or not row.p_adjusted <= alpha:
            continue
        less, more = (row.baseline, row.run) if row.effect > 0 else (row.run, row.baseline)
        names = names_of[row.attribute]
        in_both = distance.pair_of(*(side_of[letter].data(names) for letter in (row.baseline, row.run))).in_both
        classes = len(sides[0].run.counts.labeller.classes(names))
        low, high = sorted((row.a, row.b))
        if high > 0:
            evenly = tipping.evenly(low, high, classes)
            majority = tipping.towards_majority(low, of_prompts(side_of[more].data(names), in_both))
            yield Tipping(row.run, row.attribute, less, more, evenly, majority)


def sentence(points: Sequence[Tipping]) -> str:
    """Return what the comparison assumes, and how wrong that may be: for each attribute its least difference."""
    shares_of = dict[tuple[str, Errors], list[str]]()
    for name in dict.fromkeys(point.attribute for point in points):
        share, letter, errors = min(point.smaller for point in points if point.attribute == name)
        shares_of.setdefault((letter, errors), []).append(f"{number(100 * share, 1)} points ({spaced(name)})")
    parts = []
    for (letter, errors), shares in shares_of.items():
        how = ", misread as the prompt's majority" if errors == "towards the majority" else ""
        parts.append(f"if {letter} is read worse by {', '.join(shares)}{how}")
    several = len({point.run for point in points}) > 1
    first = "The first difference disappears" if several else "The difference disappears"
    return f"{ASSUMED} {first} {'; '.join(parts)}." if parts else ASSUMED
