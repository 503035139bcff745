"""The power analysis of a comparison: every attribute's plan, and what other designs would find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fairbench.cards import catalog
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import FairbenchError
from fairbench.planning import equivalence, rows
from fairbench.planning.design import Design, check_share
from fairbench.planning.equivalence import EquivalenceRow
from fairbench.planning.inputs import Baseline, LabellerErrors
from fairbench.planning.rows import Row
from fairbench.stats.power import MIN_PROMPTS, Plan
from fairbench.stats.sizes import detectable
from fairbench.types import FloatArray

IMAGES: Final = (10, 20, 40, 80, 160, 320, 640)
"""Images per prompt and run at which a curve is computed."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One attribute's curves. smallest (prompts, IMAGES): the smallest change that is found; NaN where none is."""

    attribute: str
    classes: int
    prompts: tuple[int, ...]
    smallest: FloatArray

    def at(self, prompts: int) -> list[float | None]:
        """Return the curve of one of the numbers of prompts; None where no change is found."""
        row = self.smallest[self.prompts.index(prompts)]
        return [None if math.isnan(value) else float(value) for value in row]


@dataclass(frozen=True, slots=True)
class Analysis:
    """A finished power analysis."""

    task: str
    errors: LabellerErrors
    design: Design
    baseline: Baseline
    rows: Sequence[Row]
    curves: Sequence[Curve]
    equivalence: Sequence[EquivalenceRow] = ()

    def record(self) -> dict[str, Any]:
        """Return the analysis as plain data."""
        return {
            "task": self.task,
            "labeller": self.errors.space.card.name,
            "note": LABEL_NOTE,
            **asdict(self.design),
            "attributes": [row.record() for row in self.rows],
            "curves": [
                {
                    "attribute": c.attribute,
                    "images_per_prompt": list(IMAGES),
                    "smallest_change": {str(prompts): c.at(prompts) for prompts in c.prompts},
                }
                for c in self.curves
            ],
            "equivalence": [row.record() for row in self.equivalence],
        }


def analyse(
    task: str,
    labeller: str,
    attributes: str,
    design: Design,
    baseline: Baseline,
    face_rate: float | None,
    *,
    equal: bool = False,
) -> Analysis:
    """Return the power analysis of a comparison of two runs.

    task, labeller: names or files of cards. attributes: comma-separated, or "all". face_rate: faces per image, in
    (0, 1]; None: as in `rows.row`. equal: whether claims of equivalence are planned,
    too. Raises FairbenchError where no attribute can change as much as the design says.
    """
    if equal:
        equivalence.check(design)
    if face_rate is not None:
        check_share("--face-rate", face_rate)
    errors = LabellerErrors(catalog.load_labeller(labeller))
    table = [rows.row(names, errors, baseline, face_rate, design) for names in errors.attributes(attributes)]
    if not any(row.possible for row in table):
        reasons = "; ".join(f"{row.attribute}: {row.note}" for row in table)
        raise FairbenchError(
            f"--detect {design.detect:g} cannot be planned for, ask for less or fix --baseline ({reasons})."
        )
    curves = [_curve(row.attribute, row.plan, design) for row in table]
    name = catalog.load_task(task).card.name
    equal_runs = equivalence.planned(name, table, design) if equal else []
    return Analysis(name, errors, design, baseline, table, curves, equal_runs)


def _curve(attribute: str, plan: Plan, design: Design) -> Curve:
    """Return the curves for half, all and twice as many prompts as the design has, or the fewest that can be tested."""
    fewest = MIN_PROMPTS[plan.scope]
    most = max(fewest, design.prompts)
    numbers = tuple(sorted({max(fewest, design.prompts // 2), most, 2 * most}))
    smallest = detectable(plan, [[n] for n in numbers], [IMAGES], design.power)
    return Curve(attribute, plan.baseline.shape[-1], numbers, smallest)
