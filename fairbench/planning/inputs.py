"""What a power analysis rests on: a labeller's errors, and the run or the number that stands for run A."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench.cards import catalog
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.errors import FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.correction import Correction, by_class
from fairbench.measure.counts import attributes, cross_name, primary
from fairbench.registry import suggest
from fairbench.runs import evidence, record
from fairbench.runs.prompts import expand
from fairbench.stats.correction import mixture
from fairbench.stats.estimands import concentration, concentration_of_shares
from fairbench.stats.power import MIN_FACES, shift
from fairbench.types import FloatArray, Prompt


class LabellerErrors:
    """A labeller's labels, and its errors where its card names a calibration. No plug-in is imported."""

    def __init__(self, loaded: Loaded[LabellerCard]) -> None:
        self.space = LabelSpace(loaded.card)
        self.calibration = confusion.of_labeller(loaded)
        self._correction = Correction(self.calibration, self.space, None)

    def attributes(self, text: str) -> list[tuple[str, ...]]:
        """Return the attributes and crosses that a comma-separated text names, in the card's order.

        "primary": those that a comparison decides on; "all": every one. Raises FairbenchError for a name that the card
        does not declare.
        """
        card = self.space.card
        parts_of = {cross_name(n): n for n in [*((a,) for a in card.attributes), *map(tuple, card.crosses)]}
        names = [part.strip() for part in text.split(",") if part.strip()]
        if names == ["primary"]:
            return primary(self.space)
        if names == ["all"]:
            return list(parts_of.values())
        unknown = next((name for name in names or [text] if name not in parts_of), None)
        if unknown is not None:
            hint = suggest(unknown, [*parts_of, "primary", "all"])
            raise FairbenchError(f"Labeller {card.name} has no attribute {unknown!r}{hint}.")
        return [parts for name, parts in parts_of.items() if name in names]

    def confusion(self, names: Sequence[str]) -> FloatArray | None:
        """Return P(read as | true class, a face was found), (K, K): calibrated cells of one class count equally.

        None where no calibration covers the attribute.
        """
        return _by_class(self._correction, names)

    def face_rate(self) -> float | None:
        """Return the share of the calibration's images of a person in which a face was found, cells counting equally.

        None without a calibration, and where no cell has any.
        """
        if self.calibration is None:
            return None
        misses = self.calibration.miss_rate()[: len(self.calibration.cells)]
        face_rates = 1 - misses[~np.isnan(misses)]
        return float(face_rates.mean()) if face_rates.size and face_rates.mean() > 0 else None


class PilotRun:
    """A finished run whose shares stand for run A. What labelled it has errors of its own, which are taken out."""

    def __init__(self, folder: Path) -> None:
        if not (folder / record.FILE).is_file():
            raise FairbenchError(
                f"--baseline {folder}: give the concentration of run A as a number, or the folder of a finished run "
                f"(one that holds {record.FILE})."
            )
        self.folder = folder
        self._run = evidence.read(folder)

    @property
    def labeller(self) -> str:
        """The labeller that read the run."""
        return self._run.record.labeller.name

    def shares(self, names: Sequence[str], planned: LabellerErrors) -> FloatArray:
        """Return the true shares (S, K) of the S prompts with enough faces, as the run's own labeller lets one infer.

        planned: the labeller of the plan, whose errors are another's unless it is the same one. Raises FairbenchError
        where the run does not say, or where its labeller's errors are not known while the plan's are.
        """
        counts = self._counts(names, planned)
        table = self._table(names, planned)
        counts = counts[counts.sum(axis=1) >= MIN_FACES]
        if not len(counts):
            raise FairbenchError(
                f"{self.folder}: no prompt has {MIN_FACES} faces with a label of {cross_name(names)}; name another run."
            )
        # Of few faces the shares look too concentrated: brought to the mean that is free of chance.
        shares = counts / counts.sum(axis=1, keepdims=True)
        excess = float((concentration_of_shares(shares) - concentration(counts)).mean())
        shares = shift(shares, -min(excess, float(concentration_of_shares(shares).mean())))
        return shares if table is None else mixture(shares * counts.sum(axis=1, keepdims=True), table)

    def face_rate(self, names: Sequence[str]) -> float:
        """Return the share of images with a face that has a label of the attribute."""
        counts = self._run.counts
        with_face = np.minimum(counts.of(names).sum(axis=1), counts.with_face).sum()
        return float(min(1.0, with_face / max(counts.images.sum(), 1)))

    def _counts(self, names: Sequence[str], planned: LabellerErrors) -> NDArray[np.integer[Any]]:
        """Return the faces (P, K) by class, in the order of the plan's classes."""
        space, name = self._run.counts.labeller, cross_name(names)
        measured = tuple(names) in attributes(space)
        classes, wanted = space.classes(names) if measured else [], planned.space.classes(names)
        if sorted(classes) != sorted(wanted):
            raise FairbenchError(
                f"--baseline {self.folder}: its labeller {self.labeller} does not give {name} as "
                f"{planned.space.card.name} does ({', '.join(wanted)}); name another run, or plan for --labeller "
                f"{self.labeller}."
            )
        return np.asarray(self._run.counts.of(names)[:, [classes.index(each) for each in wanted]])

    def _table(self, names: Sequence[str], planned: LabellerErrors) -> FloatArray | None:
        """Return how the run's labeller reads each class (K, K), in the order of the plan's; None: as it is.

        Never the table of another labeller: undoing errors that were not made would change the shares.
        """
        own = _by_class(self._run.correction, names)
        if own is not None:
            classes = self._run.counts.labeller.classes(names)
            order = [classes.index(each) for each in planned.space.classes(names)]
            return own[np.ix_(order, order)]
        theirs = planned.confusion(names)
        if theirs is None:
            return None  # neither's errors are known: both are taken for none
        if planned.calibration is not None and planned.calibration.labeller_id == self._run.record.labeller_id:
            return theirs  # the same labeller, calibrated since
        raise FairbenchError(
            f"--baseline {self.folder}: the errors of its labeller {self.labeller} in {cross_name(names)} are not "
            f"known, so that they cannot be taken out; give run A's concentration as a number, or calibrate "
            f"{self.labeller} and do the run again."
        )


def _by_class(correction: Correction, names: Sequence[str]) -> FloatArray | None:
    """Return P(read as | true class, a face was found), (K, K): calibrated cells of one class count equally."""
    table, groups = correction.table(names), correction.groups(names)
    if table is None or groups is None:
        return None
    return by_class(table / table.sum(axis=1, keepdims=True), groups)


Baseline = float | PilotRun | None
"""Run A: its concentration, a run that stands for it, or None for the default."""


def baseline(text: str | None) -> Baseline:
    """Return what `--baseline` names: a text that reads as a number is a concentration, any other a folder."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return PilotRun(Path(text).expanduser())
    if not 0 <= value <= 1:
        raise FairbenchError(f"--baseline {text}: give a concentration from 0 to 1, or the folder of a finished run.")
    return value


def prompts_of(task: str, count: int | None) -> list[Prompt]:
    """Return a task's prompts, or the first `count` of them. Raises CardError, FairbenchError for too many."""
    prompts = expand(catalog.load_task(task).card)
    if count is not None and count > len(prompts):
        raise FairbenchError(f"--prompts {count}: task {task} has {len(prompts)}, and a registration names those.")
    return prompts[:count]


def number_of_prompts(task: str) -> int:
    """Return how many prompts a task has. Raises CardError."""
    return len(prompts_of(task, None))


def number_of_tests(labeller: str, arms: int) -> int:
    """Return how many primary tests a comparison of so many runs makes: of each run against the baseline.

    arms: 0 stands for two. Raises CardError for an unknown labeller.
    """
    space = LabelSpace(catalog.load_labeller(labeller).card)
    return len(primary(space)) * max(1, arms - 1)
