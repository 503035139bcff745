"""Compares finished runs over the same prompts, from their evidence alone; no weights, no images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairbench.comparison import labellers, ranks
from fairbench.comparison import margins as comparison_margins
from fairbench.comparison.effects import effects
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.margins import Margins
from fairbench.comparison.ranks import Selection
from fairbench.comparison.sides import Side, pairing, primary_attributes, read, same_images, same_labeller
from fairbench.comparison.verdicts import Row, judged
from fairbench.display.numbers import number
from fairbench.errors import FairbenchError
from fairbench.measure.counts import cross_name
from fairbench.stats.ranking import Ranks


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Runs against the first of them. primary: the attributes of the primary family. n_prompts: common to all runs.

    pairing: letter of a run -> how it is paired with the baseline. rankings and selection: of three runs or more; the
    ranks of each primary attribute are by RD at the smallest face count of any run.
    """

    sides: list[Side]
    alpha: float
    margins: Margins
    primary: list[str]
    n_prompts: int
    pairing: dict[str, str]
    rows: list[Row]
    rankings: dict[str, Ranks]
    selection: Selection | None
    notes: list[str]

    @property
    def variants(self) -> int:
        """The number of runs that were compared with the baseline."""
        return len(self.sides) - 1


Result = RunComparison | LabellerComparison


def compare(folders: Sequence[Path], alpha: float = 0.05, select: bool | None = None) -> Result:
    """Compare finished runs; two runs of the same images by other labellers give a comparison of the labellers.

    alpha: in (0, 0.5), the level of every family of tests. select: choose a winner on half of the prompts; None: where
    there are three runs or more. Raises FairbenchError for runs that do not compare.
    """
    if not 0 < alpha < 0.5:
        raise FairbenchError(f"--alpha {alpha:g}: name a level between 0 and 0.5, as in 0.05.")
    if select and len(folders) < 3:
        raise FairbenchError("--select chooses among variants: name a baseline and two runs or more.")
    sides = read(folders)
    baseline = sides[0]
    differing = next((side for side in sides[1:] if not same_labeller(baseline, side)), None)
    if differing is None:
        return _of_runs(sides, alpha, select=len(sides) > 2 if select is None else select)
    if len(sides) > 2 or not same_images(baseline, differing):
        names = ", ".join(side.run.record.labeller.name for side in (baseline, differing))
        raise FairbenchError(
            f"Runs {baseline.letter} and {differing.letter} were labelled by different labellers ({names}), whose "
            "numbers do not compare: label both with one labeller, or compare two labellers on the same images, two "
            "runs at a time; for tables of labels, declare the same classes with --labeller."
        )
    return labellers.compare(baseline, differing, alpha)


def _of_runs(sides: list[Side], alpha: float, *, select: bool) -> RunComparison:
    baseline, variants = sides[0], sides[1:]
    margins = comparison_margins.of_task(baseline.run.record.task.name)
    rows_of_variants, notes_of_variants = zip(*(effects(baseline, s, margins, alpha) for s in variants), strict=True)
    rows = judged([row for rows in rows_of_variants for row in rows], alpha)
    notes = list(dict.fromkeys(note for notes in notes_of_variants for note in notes))
    selection = ranks.select(sides, alpha) if select else None
    if select and selection is None:
        notes.append("no winner was chosen: too few prompts have enough faces in all runs to halve them.")
    return RunComparison(
        sides=sides,
        alpha=alpha,
        margins=margins,
        primary=[cross_name(names) for names in primary_attributes(baseline)],
        n_prompts=len(baseline.positions),
        pairing={side.letter: pairing(baseline, side) for side in variants},
        rows=rows,
        rankings=ranks.rankings(sides, alpha) if len(sides) > 2 else {},
        selection=selection,
        notes=notes + _labels_of_tables(sides) + _too_few_prompts(rows, alpha),
    )


def _labels_of_tables(sides: Sequence[Side]) -> list[str]:
    """Return a sentence where the runs' labels stand in several tables: nothing here shows how those were made."""
    tables = dict.fromkeys(side.run.record.labeller_id for side in sides)
    if len(tables) < 2:
        return []
    names = ", ".join(dict.fromkeys(side.run.record.labeller.title for side in sides))
    return [
        f"the labels were made elsewhere ({names}): that all were made in the same way is assumed, and not checked."
    ]


def _too_few_prompts(rows: Sequence[Row], alpha: float) -> list[str]:
    """Return a sentence where the prompts are too few for any primary effect to be shown, whatever the images.

    A sign-flip test of P prompts has 2^P equally likely outcomes, of which the two most extreme are as extreme as can
    be; Holm multiplies the smallest p-value by the number of tests.
    """
    tested = [r for r in rows if r.family == "primary" and not math.isnan(r.p)]
    if not tested:
        return []
    prompts, tests = max(r.n_prompts for r in tested), len(tested)
    smallest_p = 2.0 ** (1 - prompts)
    if tests * smallest_p <= alpha:
        return []
    adjusted = f", and adjusted for {tests} tests not below {number(min(tests * smallest_p, 1))}" if tests > 1 else ""
    needed = math.ceil(math.log2(2 * tests / alpha))
    return [
        f"{prompts} prompt{'s' if prompts > 1 else ''} cannot show a difference at level {alpha:g}: p of the sign-flip "
        f"test cannot fall below {number(smallest_p)} there{adjusted}; {needed} prompts are the fewest that can."
    ]
