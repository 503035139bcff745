"""What a power analysis gives for one attribute: the images and prompts needed, and what a design finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairbench.measure.counts import cross_name
from fairbench.planning.design import Design
from fairbench.planning.inputs import Baseline, LabellerErrors, PilotRun
from fairbench.stats import power as stats_power
from fairbench.stats import sizes
from fairbench.stats.estimands import concentration_of_shares

TYPICAL: Final = 0.56
"""Run A's concentration where no baseline is given: three quarters of the way from balance to one class alone."""
MIN_FACES_PER_PROMPT: Final = 20
"""From so many faces on, the calculation agrees with simulated tests; no plan has fewer."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What follows for one attribute. note: why some number is missing.

    possible: whether the design's change is. images_needed: per prompt, with the design's prompts, for
    MIN_FACES_PER_PROMPT faces or more. prompts_needed: with the design's images per prompt. smallest_change: of
    concentration, that the design finds. split: (prompts, images per prompt, smallest change) of the best use of the
    budget. None where there is no such number.
    """

    attribute: str
    classes: int
    plan: stats_power.Plan
    note: str | None = None
    possible: bool = False
    images_needed: int | None = None
    prompts_needed: int | None = None
    smallest_change: float | None = None
    split: tuple[int, int, float] | None = None

    @property
    def baseline(self) -> float:
        """Run A's mean concentration."""
        return float(concentration_of_shares(self.plan.typical).mean())

    def record(self) -> dict[str, Any]:
        """Return the row as plain data."""
        plan = self.plan
        names = ("prompts", "images_per_prompt", "smallest_change")
        return {
            "attribute": self.attribute,
            "classes": self.classes,
            "baseline_concentration": self.baseline,
            "possible": self.possible,
            "note": self.note,
            "images_per_prompt_needed": self.images_needed,
            "prompts_needed": self.prompts_needed,
            "smallest_change": self.smallest_change,
            "best_split": self.split and dict(zip(names, self.split, strict=True)),
            "level": plan.alpha,
            "face_rate": plan.face_rate,
            "confusion": None if plan.confusion is None else plan.confusion.tolist(),
        }


def row(
    names: Sequence[str], errors: LabellerErrors, baseline: Baseline, face_rate: float | None, design: Design
) -> Row:
    """Return the plan for one attribute or cross. Raises FairbenchError for a run that cannot serve as run A.

    face_rate: None takes the pilot's, else the calibration's, else 1.
    """
    attribute, confusion = cross_name(names), errors.confusion(names)
    classes = len(errors.space.classes(names))
    if isinstance(baseline, PilotRun):
        shares = baseline.shares(names, errors)
        face_rate = baseline.face_rate(names) if face_rate is None else face_rate
    else:
        shares = stats_power.shares_at(TYPICAL if baseline is None else baseline, classes)
    if face_rate is None:
        face_rate = errors.face_rate() or 1.0
    plan = stats_power.Plan(shares, confusion, face_rate, design.between_prompt_sd, design.level, design.scope)
    return _answered(Row(attribute, classes, plan), design)


def _answered(row: Row, design: Design) -> Row:
    """Return the row with the numbers that follow from its plan."""
    plan = row.plan
    smallest = float(sizes.detectable(plan, design.prompts, design.images, design.power))
    row = replace(row, smallest_change=None if math.isnan(smallest) else smallest, split=_best_split(plan, design))
    if design.detect > row.baseline + 1e-9:
        why = f"a change of {design.detect:g} is impossible: run A's concentration of {row.baseline:.3f} is too small"
        return replace(row, note=why)
    images = sizes.images_needed(plan, -design.detect, design.prompts, design.power)
    prompts = sizes.prompts_needed(plan, -design.detect, design.images, design.power)
    note = _why_none(plan, design, images, prompts)
    if images is not None:
        images = max(images, math.ceil(MIN_FACES_PER_PROMPT / plan.face_rate))
    return replace(row, possible=True, images_needed=images, prompts_needed=prompts, note=note)


def _best_split(plan: stats_power.Plan, design: Design) -> tuple[int, int, float] | None:
    """Return the split of the budget that finds the smallest change, over up to as many prompts as the design has."""
    if design.budget is None:
        return None
    fewest = stats_power.MIN_PROMPTS[plan.scope]
    prompts = [design.prompts]
    if plan.scope == "other prompts":  # of which some may be left out
        most = min(design.prompts, int(design.budget * plan.face_rate / MIN_FACES_PER_PROMPT))
        prompts = sorted({max(fewest, round(most / 2 ** (step / 2))) for step in range(9)}, reverse=True)
    if min(max(prompts), design.prompts) < fewest or max(prompts) > design.budget:
        return None
    images, changes = sizes.budget_curve(plan, design.budget, prompts, design.power)
    if np.isnan(changes).all():
        return None
    best = int(np.nanargmin(np.round(changes, 4)))  # of equals, the most prompts
    return prompts[best], int(images[best]), float(changes[best])


def _why_none(plan: stats_power.Plan, design: Design, images: int | None, prompts: int | None) -> str | None:
    """Return in words why no number of images, or of prompts, is enough."""
    most, fewest = f"{sizes.MAX_SEARCHED:,}", stats_power.MIN_PROMPTS[plan.scope]
    more = f"{prompts:,} are enough" if prompts else "more are needed"
    if design.prompts < fewest:
        other = ", or take --scope 'this list'" if plan.scope == "other prompts" and design.prompts > 1 else ""
        return (
            f"impossible with {design.prompts} prompt{'s' if design.prompts > 1 else ''}: a difference over "
            f"{plan.scope} takes at least {fewest}; with {design.images} images each, {more}{other}"
        )
    if images is None and plan.scope == "this list":
        return f"no number of images up to {most} is enough: the labeller reads the two runs too much alike"
    if images is None:
        return (
            f"no number of images is enough at {design.prompts} prompts, which are too few or differ too much; with "
            f"{design.images} images each, {more}"
        )
    if prompts is None and design.images * plan.face_rate < stats_power.MIN_FACES:
        return (
            f"{design.images} images give fewer than {stats_power.MIN_FACES} faces per prompt: no number of prompts is "
            "enough"
        )
    if prompts is None:
        return f"no number of prompts up to {most} is enough at {design.images} images each: give more images"
    return None
