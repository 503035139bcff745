"""What a power analysis rests on: a labeller's errors, and the run or the RD that stands for run A."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fairbench.cards import catalog
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.cards.csvfile import Columns, number, read_csv
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.correction import Correction, by_class
from fairbench.measure.counts import cross_name
from fairbench.registry import suggest
from fairbench.runs.prompts import expand
from fairbench.types import FloatArray


class LabellerErrors:
    """A labeller's labels, and its errors where its card names a calibration. No plug-in is imported."""

    def __init__(self, loaded: Loaded[LabellerCard]) -> None:
        self.space = LabelSpace(loaded.card)
        self.calibration = confusion.of_labeller(loaded)
        self._correction = Correction(self.calibration, self.space, None)

    def attributes(self, text: str) -> list[tuple[str, ...]]:
        """Return the attributes and crosses that a comma-separated text names, in the card's order; "all": every one.

        Raises FairbenchError for a name that the card does not declare.
        """
        card = self.space.card
        parts_of = {cross_name(n): n for n in [*((a,) for a in card.attributes), *map(tuple, card.crosses)]}
        names = [part.strip() for part in text.split(",") if part.strip()]
        if names == ["all"]:
            return list(parts_of.values())
        unknown = next((name for name in names or [text] if name not in parts_of), None)
        if unknown is not None:
            hint = suggest(unknown, [*parts_of, "all"])
            raise FairbenchError(f"Labeller {card.name} has no attribute {unknown!r}{hint}.")
        return [parts for name, parts in parts_of.items() if name in names]

    def confusion(self, names: Sequence[str]) -> FloatArray | None:
        """Return P(read as | true class, a face was found), (K, K): calibrated cells of one class count equally.

        None where no calibration covers the attribute.
        """
        table, groups = self._correction.table(names), self._correction.groups(names)
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
        face_rates = 1 - misses[~np.isnan(misses)]
        return float(face_rates.mean()) if face_rates.size and face_rates.mean() > 0 else None


class PilotRun:
    """A finished run whose shares stand for run A."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "prompts.csv"
        if not self.path.is_file():
            raise FairbenchError(
                f"--baseline {folder}: give the RD of run A as a number, or the folder of a finished run (one that "
                "holds prompts.csv)."
            )
        self._rows = list(read_csv(self.path, Columns(("n_images", "n_with_face"), others="allow")))

    def counts(self, attribute: str, labels: Sequence[str]) -> FloatArray:
        """Return the number of faces by label (S, K) of the S prompts that have any. Raises CardError."""
        faces = self._column(f"{attribute}.n")
        has_faces = faces > 0
        if not has_faces.any():
            raise CardError(f"{self.path}: no prompt has a face with a label of {attribute}; name another run.")
        shares = np.stack([self._column(f"{attribute}.share {label}") for label in labels], axis=1)[has_faces]
        damaged = ~(np.abs(shares.sum(axis=1) - 1) < 1e-3)
        if damaged.any():
            line = self._rows[int(np.flatnonzero(has_faces)[damaged][0])][0]
            raise CardError(f"{self.path}, line {line}: the shares of {attribute} do not sum to 1; run it again.")
        return np.asarray(np.round(shares * faces[has_faces, None]))

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
            value = number(row[name] or "0")  # the shares of a prompt without a face are empty
            if not 0 <= value < math.inf:
                raise CardError(f"{self.path}, line {line}, field {name}: {row[name]!r} is no count or share.")
            values.append(value)
        return np.array(values)


Baseline = float | PilotRun | None
"""Run A: its RD, a run that stands for it, or None for the default."""


def baseline(text: str | None) -> Baseline:
    """Return what `--baseline` names: a text that reads as a number is an RD, any other a folder."""
    if text is None:
        return None
    try:
        rd = float(text)
    except ValueError:
        return PilotRun(Path(text).expanduser())
    if not 0 <= rd <= 1:
        raise FairbenchError(f"--baseline {text}: give an RD from 0 to 1, or the folder of a finished run.")
    return rd


def number_of_prompts(task: str) -> int:
    """Return how many prompts a task has. Raises CardError."""
    return len(expand(catalog.load_task(task).card))
