"""What a plan rests on (a labeller's errors, a run's shares, a face rate), and what follows for every attribute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.cards.csvfile import read_csv
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.correction import Correction, by_class
from fairbench.measure.counts import cross_name
from fairbench.metrics.rd import relative_diversity
from fairbench.stats import power as stats_power
from fairbench.stats.correction import mixture
from fairbench.stats.intervals import Scope
from fairbench.types import FloatArray

TYPICAL: Final = 0.75
"""Run A's RD as a share of its maximum 2/K where no baseline is given: clearly biased, yet not wholly one-sided."""

FEWEST_FACES: Final = 20
"""The reckoning agrees with simulated tests from so many faces a prompt on; no plan is given with fewer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a plan: a true change of RD, found with this power by a test of this level in this design."""

    detect: float
    power: float
    alpha: float
    scope: Scope
    estimand: Literal["rd", "concentration"]
    between_prompt_sd: float
    prompts: int
    images: int
    budget: int | None = None


class Known:
    """The labeller's labels, and its errors where its card names a calibration. No plug-in is imported."""

    def __init__(self, loaded: Loaded[LabellerCard]) -> None:
        self.space = LabelSpace(loaded.card)
        self.calibration = confusion.of_labeller(loaded)
        self._repair = Correction(self.calibration, self.space, None)

    def confusion(self, names: Sequence[str]) -> FloatArray | None:
        """Return P(read as | true class, a face was found), (K, K): calibrated cells of one class count equally.

        None where no calibration covers the attribute.
        """
        table, groups = self._repair.table(names), self._repair.groups(names)
        if table is None or groups is None:
            return None
        return by_class(table / table.sum(axis=1, keepdims=True), groups)

    def face_rate(self) -> float | None:
        """Return the share of the calibration's images of a person in which a face was found, cells counting equally.

        None without a calibration, and where no cell has any.
        """
        if self.calibration is None:
            return None
        misses = self.calibration.miss_rate()[: len(self.calibration.cells)]
        found = 1 - misses[~np.isnan(misses)]
        return float(found.mean()) if found.size and found.mean() > 0 else None


class Pilot:
    """A finished run whose shares stand for run A."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "prompts.csv"
        if not self.path.is_file():
            raise FairbenchError(
                f"--baseline {folder}: give the RD of run A as a number, or the folder of a finished run (one that "
                "holds prompts.csv)."
            )
        self._rows = list(read_csv(self.path, ("n_images", "n_with_face"), others="allow"))

    def counts(self, attribute: str, labels: Sequence[str]) -> FloatArray:
        """Return the faces of every prompt that has any, by label, (S, K). Raises CardError."""
        n = self._column(f"{attribute}.n")
        kept = n > 0
        if not kept.any():
            raise CardError(f"{self.path}: no prompt has a face with a label of {attribute}; name another run.")
        shares = np.stack([self._column(f"{attribute}.share {label}") for label in labels], axis=1)[kept]
        bad = ~(np.abs(shares.sum(axis=1) - 1) < 1e-3)
        if bad.any():
            line = self._rows[int(np.flatnonzero(kept)[bad][0])][0]
            raise CardError(f"{self.path}, line {line}: the shares of {attribute} do not sum to 1; run it again.")
        return np.asarray(np.round(shares * n[kept, None]))

    def face_rate(self, attribute: str) -> float:
        """Return the share of images with a face that has a label of the attribute. Raises CardError."""
        images = self._column("n_images").sum()
        with_face = np.minimum(self._column(f"{attribute}.n"), self._column("n_with_face")).sum()
        return float(min(1.0, with_face / images)) if images > 0 else 0.0

    def _column(self, name: str) -> FloatArray:
        if self._rows and name not in self._rows[0][1]:
            raise CardError(
                f"{self.path}, line 1: the column {name!r} is missing; give the labeller with which the run was made."
            )
        values = []
        for line, row in self._rows:
            try:
                value = float(row[name] or 0)  # the shares of a prompt without a face are empty
            except ValueError:
                value = math.nan
            if not 0 <= value < math.inf:
                raise CardError(f"{self.path}, line {line}, field {name}: {row[name]!r} is no count or share.")
            values.append(value)
        return np.array(values)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What follows for one attribute. plan: None where run A cannot be as asked; then `note` says why.

    needed_images, FEWEST_FACES faces or more: a prompt, with the design's prompts; needed_prompts: with its images a
    prompt; smallest: the smallest change of RD that the design finds; split: (prompts, images a prompt, smallest
    change) of the best use of the budget.
    None: no such number. possible: whether the change asked for is.
    """

    attribute: str
    classes: int
    plan: stats_power.Plan | None = None
    note: str | None = None
    possible: bool = False
    needed_images: int | None = None
    needed_prompts: int | None = None
    smallest: float | None = None
    split: tuple[int, int, float] | None = None

    @property
    def baseline_rd(self) -> float | None:
        """Run A's mean RD."""
        return None if self.plan is None else float(relative_diversity(np.atleast_2d(self.plan.baseline)).mean())

    def record(self) -> dict[str, Any]:
        """Return the row as plain data."""
        plan, split = self.plan, self.split
        errs = None if plan is None or plan.confusion is None else plan.confusion
        return {
            "attribute": self.attribute, "classes": self.classes, "largest_rd": 2 / self.classes,
            "baseline_rd": self.baseline_rd, "possible": self.possible, "note": self.note,
            "images_per_prompt_needed": self.needed_images, "prompts_needed": self.needed_prompts,
            "smallest_change": self.smallest,
            "best_split": split and dict(zip(("prompts", "images_per_prompt", "smallest_change"), split, strict=True)),
            "face_rate": None if plan is None else plan.face_rate,
            "confusion": None if errs is None else errs.tolist(),
        }  # fmt: skip


def row(
    names: Sequence[str], known: Known, baseline: float | Pilot | None, face_rate: float | None, asked: Asked
) -> Row:
    """Plan for one attribute or cross. Raises FairbenchError for a run that cannot serve as run A.

    face_rate: None takes the pilot's, else the calibration's, else 1.
    """
    attribute, labels, confusion = cross_name(names), known.space.classes(names), known.confusion(names)
    classes = len(labels)
    if isinstance(baseline, Pilot):
        counts = baseline.counts(attribute, labels)
        # Its shares were read with the labeller's errors, and the plan adds them: take them out first.
        shares = counts / counts.sum(axis=1, keepdims=True) if confusion is None else mixture(counts, confusion)
        face_rate = baseline.face_rate(attribute) if face_rate is None else face_rate
    else:
        rd = TYPICAL * 2 / classes if baseline is None else baseline
        if rd > 2 / classes:
            return Row(attribute, classes, note=f"a baseline RD of {rd:g} is above the maximum {2 / classes:.3f}")
        shares = stats_power.shares_at_rd(rd, classes)
    if face_rate is None:
        face_rate = known.face_rate() or 1.0
    plan = stats_power.Plan(
        shares, confusion, face_rate, asked.between_prompt_sd, asked.alpha, asked.scope, asked.estimand
    )  # fmt: skip
    return _answers(Row(attribute, classes, plan), plan, asked)


def _answers(row: Row, plan: stats_power.Plan, asked: Asked) -> Row:
    smallest = float(stats_power.detectable(plan, asked.prompts, asked.images, asked.power))
    row = replace(row, smallest=None if math.isnan(smallest) else smallest, split=_best_split(plan, asked))
    rd = row.baseline_rd
    assert rd is not None
    if asked.detect > rd + 1e-9:
        return replace(row, note=f"a change of {asked.detect:g} is impossible: run A's RD of {rd:.3f} is too small")
    images = stats_power.images_needed(plan, -asked.detect, asked.prompts, asked.power)
    prompts = stats_power.prompts_needed(plan, -asked.detect, asked.images, asked.power)
    note = _why_none(plan, asked, images, prompts)
    if images is not None:
        images = max(images, math.ceil(FEWEST_FACES / plan.face_rate))
    return replace(row, possible=True, needed_images=images, needed_prompts=prompts, note=note)


def _best_split(plan: stats_power.Plan, asked: Asked) -> tuple[int, int, float] | None:
    """Return the split of the budget that finds the smallest change, over up to as many prompts as the task has."""
    if asked.budget is None:
        return None
    prompts = [asked.prompts]
    if plan.scope == "prompts like these":  # of which some may be left out
        most = min(asked.prompts, int(asked.budget * plan.face_rate / FEWEST_FACES))
        prompts = sorted({round(most / 2 ** (step / 2)) for step in range(9)} - {0, 1}, reverse=True)
        if not prompts:
            return None
    images, found = stats_power.budget_curve(plan, asked.budget, prompts, asked.power)
    if np.isnan(found).all():
        return None
    best = int(np.nanargmin(np.round(found, 4)))  # of equals, the most prompts
    return prompts[best], int(images[best]), float(found[best])


def _why_none(plan: stats_power.Plan, asked: Asked, images: int | None, prompts: int | None) -> str | None:
    """Say in words why no number of images, or of prompts, is enough."""
    if images is None and asked.prompts == 1 and plan.scope == "prompts like these":
        return "one prompt is no sample of prompts: give more prompts, or --scope 'these prompts'"
    if images is None:
        fixed = replace(plan, scope="these prompts")
        if stats_power.images_needed(fixed, -asked.detect, asked.prompts, asked.power) is None:
            return (
                f"no number of images up to {stats_power.MOST:,} is enough: as the labeller reads them, the two runs "
                "are too much alike"
            )
        more = f"{prompts:,} are enough" if prompts else "more are needed"
        return (
            f"no number of images is enough at {asked.prompts} prompts: the prompts themselves differ too much; with "
            f"{asked.images} images each, {more}"
        )
    if prompts is None and asked.images * plan.face_rate < 2:
        return f"{asked.images} images give fewer than two faces a prompt: no number of prompts is enough"
    if prompts is None:
        return (
            f"no number of prompts up to {stats_power.MOST:,} is enough at {asked.images} images each: give more images"
        )
    return None
