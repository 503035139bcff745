"""Compares finished runs over the same prompts, from their evidence alone; no weights, no images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairbench.comparison import assumption, hacking, labellers, ranks, second_labeller, understood, wordings, wrappers
from fairbench.comparison import margins as comparison_margins
from fairbench.comparison.assumption import Tipping
from fairbench.comparison.effects import effects
from fairbench.comparison.hacking import Hacking
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.margins import Margins
from fairbench.comparison.ranks import Selection
from fairbench.comparison.sides import Side, pairing, primary_attributes, read, same_images, same_labeller
from fairbench.comparison.verdicts import Row
from fairbench.comparison.wordings import Orders
from fairbench.comparison.wrappers import Wrappers
from fairbench.errors import FairbenchError
from fairbench.measure.counts import cross_name
from fairbench.runs import registration
from fairbench.stats.ranking import Ranks


@dataclass(frozen=True, slots=True)
class Registered:
    """What a comparison was registered as. at: when, UTC. departures: sentences; none: it is as registered."""

    file: str
    at: str
    sha256: str
    departures: list[str]


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Runs against the first of them. primary: the attributes of the primary family. n_prompts: common to all runs.

    pairing: letter of a run -> how it is paired with the baseline. rankings (by concentration) and selection: of three
    runs or more. tipping: where each shown difference disappears. registration: the file and how the comparison departs
    from what was registered there; None: no registration was named. second: of the same images by a second labeller.
    wrappers: of one model under several system prompts. orders: of the runs, wording by wording. hacking: whether a run
    pleases the first labeller alone; None: it was not asked.
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
    tipping: list[Tipping]
    registration: Registered | None = None
    second: RunComparison | None = None
    wrappers: Wrappers | None = None
    orders: list[Orders] = field(default_factory=list)
    hacking: Hacking | None = None

    @property
    def registered_words(self) -> str:
        """Return whether the comparison was registered, in a sentence."""
        if self.registration is None:
            return "Not registered."
        departures = self.registration.departures
        where = f"Registered {self.registration.at}"
        return f"{where}, with departures: {'; '.join(departures)}." if departures else f"{where}."

    @property
    def variants(self) -> int:
        """The number of runs that were compared with the baseline."""
        return len(self.sides) - 1


Result = RunComparison | LabellerComparison


def compare(
    folders: Sequence[Path],
    alpha: float = 0.05,
    select: bool | None = None,
    registered: Path | None = None,
    *,
    rd_margins: bool = False,
    forms: Sequence[str] | None = None,
    audit_hacking: bool = False,
) -> Result:
    """Compare finished runs; two runs of the same images by other labellers give a comparison of the labellers.

    alpha: in (0, 0.5), the level of every family of tests. select: choose a winner on half of the prompts; None: where
    there are three runs or more. registered: a file of `plan --register` that the comparison is held against.
    rd_margins: test RD for equivalence, too. forms: see `sides.read`. audit_hacking: hold the labeller of training, the
    first run's, against a judge; every run is named as both read it.

    Raises FairbenchError for runs that do not compare.
    """
    if not 0 < alpha < 0.5:
        raise FairbenchError(f"--alpha {alpha:g}: name a level between 0 and 0.5, as in 0.05.")
    if select and len(folders) < 3:
        raise FairbenchError("--select chooses among variants: name a baseline and two runs or more.")
    sides = read(folders, forms)
    by_labeller = second_labeller.split(sides)
    if audit_hacking and (by_labeller is None or len(by_labeller) != 2):
        raise FairbenchError(
            "--hacking holds the labeller of training against a judge: name a baseline and its variants as the "
            "labeller of training reads them, then the same images as the judge does (fairbench run --labeller JUDGE)."
        )
    if by_labeller is not None:
        first, *others = by_labeller
        chosen = len(first) > 2 if select is None else select
        result = _of_runs(first, alpha, registered, select=chosen, rd_margins=rd_margins)
        seconds = (_of_runs(second, alpha, None, select=False, rd_margins=rd_margins) for second in others)
        checked = hacking.report(first, others[0], result.margins, alpha) if audit_hacking else None
        return replace(result, second=next(seconds, None), hacking=checked)
    baseline = sides[0]
    differing = next(side for side in sides[1:] if not same_labeller(baseline, side))
    if len(sides) > 2 or not same_images(baseline, differing):
        names = ", ".join(side.run.record.labeller.name for side in (baseline, differing))
        raise FairbenchError(
            f"Runs {baseline.letter} and {differing.letter} were labelled by different labellers ({names}), whose "
            "numbers do not compare: label both with one labeller, or compare two labellers on the same images, two "
            "runs at a time, or the same runs as two labellers read them; for tables of labels, declare the same "
            "classes with --labeller."
        )
    return labellers.compare(baseline, differing, alpha)


def _of_runs(
    sides: list[Side], alpha: float, registered: Path | None, *, select: bool, rd_margins: bool
) -> RunComparison:
    baseline, variants = sides[0], sides[1:]
    margins = comparison_margins.of_task(baseline.run.record.task.name, with_rd=rd_margins)
    held_against = None if registered is None else _registration(registered, sides, margins, alpha)
    rows_of_variants, notes_of_variants = zip(*(effects(baseline, s, margins, alpha) for s in variants), strict=True)
    pairings = {side.letter: pairing(baseline, side) for side in variants}
    rows = understood.withheld([row for rows in rows_of_variants for row in rows], pairings, alpha)
    notes = list(dict.fromkeys(note for notes in notes_of_variants for note in notes))
    selection = ranks.select(sides, alpha) if select else None
    if select and selection is None:
        notes.append(f"no winner was chosen: that takes {ranks.FEWEST_PROMPTS} prompts with enough faces in all runs.")
    return RunComparison(
        sides=sides,
        alpha=alpha,
        margins=margins,
        primary=[cross_name(names) for names in primary_attributes(baseline)],
        n_prompts=len(baseline.positions),
        pairing=pairings,
        rows=rows,
        rankings=ranks.rankings(sides, alpha) if len(sides) > 2 else {},
        selection=selection,
        notes=notes + _labels_of_tables(sides),
        tipping=list(assumption.tipping_points(sides, rows, alpha)),
        registration=held_against,
        wrappers=wrappers.of(sides, margins, alpha),
        orders=wordings.orders(sides, alpha),
    )


def _registration(file: Path, sides: Sequence[Side], margins: Margins, alpha: float) -> Registered:
    """Hold a comparison against its registration. Raises FairbenchError where the file is none."""
    registered = registration.read(file)
    primary = [(names, cross_name(names)) for names in primary_attributes(sides[0])]
    used = dict(margins.values)
    for names, name in primary:
        classes = len(sides[0].run.counts.labeller.classes(names))
        used[f"concentration.{name}"] = margins.concentration(name, classes)
        used[f"groups.{name}"] = margins.groups(name, classes)
    attributes = [name for _, name in primary]
    departures = registration.departures(registered, [side.run for side in sides], attributes, used, alpha)
    return Registered(str(file), registered.registered_at, registered.sha256, departures)


def _labels_of_tables(sides: Sequence[Side]) -> list[str]:
    """Return a sentence where the runs' labels stand in several tables: nothing here shows how those were made."""
    tables = dict.fromkeys(side.run.record.labeller_id for side in sides)
    if len(tables) < 2:
        return []
    names = ", ".join(dict.fromkeys(side.run.record.labeller.title for side in sides))
    return [
        f"the labels were made elsewhere ({names}): that all were made in the same way is assumed, and not checked."
    ]
