"""What a power analysis gives for one attribute: the images and prompts needed, and what a design finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairbench.measure.counts import cross_name
from fairbench.metrics._rd import relative_diversity
from fairbench.planning.design import Design
from fairbench.planning.inputs import Baseline, LabellerErrors, PilotRun
from fairbench.stats import power as stats_power
from fairbench.stats.correction import mixture

TYPICAL_SHARE_OF_MAXIMUM: Final = 0.75
"""Run A's RD as a share of its maximum 2/K where no baseline is given: clearly biased, yet not wholly one-sided."""
MIN_FACES_PER_PROMPT: Final = 20
"""From so many faces on, the calculation agrees with simulated tests; no plan has fewer."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What follows for one attribute. plan: None where run A cannot have the baseline RD; then `note` says why.

    possible: whether the design's change is. images_needed: per prompt, with the design's prompts, for
    MIN_FACES_PER_PROMPT faces or more. prompts_needed: with the design's images per prompt. smallest_change: of RD,
    that the design finds. split: (prompts, images per prompt, smallest change) of the best use of the budget. None
    where there is no such number.
    """

    attribute: str
    classes: int
    plan: stats_power.Plan | None = None
    note: str | None = None
    possible: bool = False
    images_needed: int | None = None
    prompts_needed: int | None = None
    smallest_change: float | None = None
    split: tuple[int, int, float] | None = None

    @property
    def baseline_rd(self) -> float | None:
        """Run A's mean RD."""
        return None if self.plan is None else float(relative_diversity(np.atleast_2d(self.plan.baseline)).mean())

    def record(self) -> dict[str, Any]:
        """Return the row as plain data."""
        plan = self.plan
        names = ("prompts", "images_per_prompt", "smallest_change")
        return {
            "attribute": self.attribute,
            "classes": self.classes,
            "largest_rd": 2 / self.classes,
            "baseline_rd": self.baseline_rd,
            "possible": self.possible,
            "note": self.note,
            "images_per_prompt_needed": self.images_needed,
            "prompts_needed": self.prompts_needed,
            "smallest_change": self.smallest_change,
            "best_split": self.split and dict(zip(names, self.split, strict=True)),
            "face_rate": None if plan is None else plan.face_rate,
            "confusion": None if plan is None or plan.confusion is None else plan.confusion.tolist(),
        }


def row(
    names: Sequence[str], errors: LabellerErrors, baseline: Baseline, face_rate: float | None, design: Design
) -> Row:
    """Return the plan for one attribute or cross. Raises FairbenchError for a run that cannot serve as run A.

    face_rate: None takes the pilot's, else the calibration's, else 1.
    """
    attribute, labels, confusion = cross_name(names), errors.space.classes(names), errors.confusion(names)
    classes = len(labels)
    if isinstance(baseline, PilotRun):
        counts = baseline.counts(attribute, labels)
        # Its shares were read with the labeller's errors, and the plan adds them: take them out first.
        shares = counts / counts.sum(axis=1, keepdims=True) if confusion is None else mixture(counts, confusion)
        face_rate = baseline.face_rate(attribute) if face_rate is None else face_rate
    else:
        rd = TYPICAL_SHARE_OF_MAXIMUM * 2 / classes if baseline is None else baseline
        if rd > 2 / classes:
            return Row(attribute, classes, note=f"a baseline RD of {rd:g} is above the maximum {2 / classes:.3f}")
        shares = stats_power.shares_at_rd(rd, classes)
    if face_rate is None:
        face_rate = errors.face_rate() or 1.0
    test = design.between_prompt_sd, design.alpha, design.scope, design.estimand
    return _answered(Row(attribute, classes), stats_power.Plan(shares, confusion, face_rate, *test), design)


def _answered(row: Row, plan: stats_power.Plan, design: Design) -> Row:
    """Return the row with the plan and with the numbers that follow from it."""
    smallest = float(stats_power.detectable(plan, design.prompts, design.images, design.power))
    smallest_change = None if math.isnan(smallest) else smallest
    row = replace(row, plan=plan, smallest_change=smallest_change, split=_best_split(plan, design))
    rd = row.baseline_rd
    assert rd is not None
    if design.detect > rd + 1e-9:
        return replace(row, note=f"a change of {design.detect:g} is impossible: run A's RD of {rd:.3f} is too small")
    images = stats_power.images_needed(plan, -design.detect, design.prompts, design.power)
    prompts = stats_power.prompts_needed(plan, -design.detect, design.images, design.power)
    note = _why_none(plan, design, images, prompts)
    if images is not None:
        images = max(images, math.ceil(MIN_FACES_PER_PROMPT / plan.face_rate))
    return replace(row, possible=True, images_needed=images, prompts_needed=prompts, note=note)


def _best_split(plan: stats_power.Plan, design: Design) -> tuple[int, int, float] | None:
    """Return the split of the budget that finds the smallest change, over up to as many prompts as the design has."""
    if design.budget is None:
        return None
    prompts = [design.prompts]
    if plan.scope == "other prompts":  # of which some may be left out
        most = min(design.prompts, int(design.budget * plan.face_rate / MIN_FACES_PER_PROMPT))
        prompts = sorted({round(most / 2 ** (step / 2)) for step in range(9)} - {0, 1}, reverse=True)
        if not prompts:
            return None
    images, changes = stats_power.budget_curve(plan, design.budget, prompts, design.power)
    if np.isnan(changes).all():
        return None
    best = int(np.nanargmin(np.round(changes, 4)))  # of equals, the most prompts
    return prompts[best], int(images[best]), float(changes[best])


def _why_none(plan: stats_power.Plan, design: Design, images: int | None, prompts: int | None) -> str | None:
    """Return in words why no number of images, or of prompts, is enough."""
    most = f"{stats_power.MAX_SEARCHED:,}"
    if images is None and design.prompts == 1 and plan.scope == "other prompts":
        return "one prompt is no sample of prompts: give more prompts, or --scope 'this list'"
    if images is None:
        fixed = replace(plan, scope="this list")
        if stats_power.images_needed(fixed, -design.detect, design.prompts, design.power) is None:
            return f"no number of images up to {most} is enough: the labeller reads the two runs too much alike"
        more = f"{prompts:,} are enough" if prompts else "more are needed"
        return (
            f"no number of images is enough at {design.prompts} prompts: the prompts themselves differ too much; with "
            f"{design.images} images each, {more}"
        )
    if prompts is None and design.images * plan.face_rate < 2:
        return f"{design.images} images give fewer than two faces per prompt: no number of prompts is enough"
    if prompts is None:
        return f"no number of prompts up to {most} is enough at {design.images} images each: give more images"
    return None
