"""The smallest change that a design finds, for several numbers of prompts and of images per prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fairbench.stats.power import Plan, detectable
from fairbench.types import FloatArray

IMAGES: Final = (10, 20, 40, 80, 160, 320, 640)
"""Images per prompt and run at which a curve is computed."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One attribute's curves. smallest (prompts, IMAGES): the smallest change of RD found; NaN where none is."""

    attribute: str
    classes: int
    prompts: tuple[int, ...]
    smallest: FloatArray

    def at(self, prompts: int) -> list[float | None]:
        """Return the curve of one of the numbers of prompts; None where no change is found."""
        row = self.smallest[self.prompts.index(prompts)]
        return [None if math.isnan(value) else float(value) for value in row]


def of(attribute: str, plan: Plan, prompts: int, power: float) -> Curve:
    """Return the curves for a quarter, a half, all and twice as many prompts."""
    fewest = 2 if plan.scope == "prompts like these" else 1
    numbers = tuple(sorted({prompts, 2 * prompts, *(max(fewest, prompts // part) for part in (2, 4))}))
    smallest = detectable(plan, [[n] for n in numbers], [IMAGES], power)
    return Curve(attribute, plan.baseline.shape[-1], numbers, smallest)
