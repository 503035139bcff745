"""A run's calibration, made ready: which attributes it corrects, or the one sentence why it corrects none."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairbench.labelling.confusion import Calibration
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.counts import Counts
from fairbench.stats import transfer
from fairbench.stats.units import Data, as_units
from fairbench.types import FloatArray

ASSUMPTIONS = (
    "Corrected values assume that the labeller errs on these images as it did on the calibration's ({domain}), "
    "whatever the prompt, and that an image that shows nobody yields no face."
)
WITH_NOBODY = (
    "Corrected values assume that the labeller errs on these images as it did on the calibration's ({domain}), "
    "whatever the prompt."
)


@dataclass(frozen=True, slots=True)
class Correction:
    """What is known of a labeller's errors. reason: why nothing is corrected; None: the calibration applies.

    The confusion table is kept even where counts are not corrected: floors and ceilings need no more than it.
    """

    calibration: Calibration | None
    space: LabelSpace
    reason: str | None
    transfer: transfer.Transfer | None = None

    @property
    def sha256(self) -> str | None:
        """The hash of the calibration's numbers, None where there is no calibration."""
        return None if self.calibration is None else fingerprint(self.calibration)

    @property
    def assumptions(self) -> str | None:
        """What every corrected value assumes, in a sentence; None where nothing is corrected."""
        if self.calibration is None or self.reason is not None:
            return None
        nobody = len(self.calibration.rows) > len(self.calibration.cells)
        return (WITH_NOBODY if nobody else ASSUMPTIONS).format(domain=self.calibration.domain)

    def groups(self, names: Sequence[str]) -> list[int] | None:
        """Return the class of an attribute or cross to which each calibrated cell belongs; None: not covered."""
        if self.calibration is None:
            return None
        all_readers = [self._reader(name, self.calibration.attributes) for name in names]
        readers = [reader for reader in all_readers if reader is not None]
        if len(readers) < len(names):
            return None
        classes = list(itertools.product(*(self.space.declared.labels[name] for name in names)))
        cells = [tuple(label_of[cell[position]] for position, label_of in readers) for cell in self.calibration.cells]
        return [classes.index(cell) for cell in cells] if set(cells) == set(classes) else None

    def _reader(self, name: str, attributes: Sequence[str]) -> tuple[int, dict[str, str]] | None:
        """Return which calibrated attribute gives `name`, and its label for each of that attribute's."""
        if name in attributes:
            return attributes.index(name), {label: label for label in self.space.declared.labels[name]}
        source = self.space.card.attributes[name].source
        if source is None or source not in attributes:
            return None
        return attributes.index(source), dict(self.space.card.attributes[name].map)

    def table(self, names: Sequence[str]) -> FloatArray | None:
        """Return P(read as class | true cell, face or not), (cells, K); None where it is unknown.

        Counts that the table cannot have given do not make it unknown, another labeller's table is.
        """
        groups, calibration = self.groups(names), self.calibration
        if groups is None or calibration is None or (self.reason is not None and self.transfer is None):
            return None
        rates = calibration.rates()[: len(calibration.cells), :-1]
        if np.isnan(rates).any() or (rates.sum(axis=1) == 0).any():
            return None
        return np.asarray(rates @ np.eye(max(groups) + 1)[groups])


def by_class(table: FloatArray, groups: Sequence[int]) -> FloatArray:
    """Return a table's rows by class, (K, K): a fair model shows every class equally often, not every cell."""
    members = np.eye(max(groups) + 1)[list(groups)]
    return np.asarray(members.T @ table / members.sum(axis=0)[:, None])


def fingerprint(calibration: Calibration) -> str:
    """Return a sha256 over what a calibration changes numbers by: its cells, in order, and their counts."""
    parts = [calibration.labeller_id, calibration.attributes, calibration.rows, calibration.columns]
    return hashlib.sha256(repr([*parts, calibration.counts.tolist()]).encode()).hexdigest()


def prepare(calibration: Calibration | None, problem: str | None, counts: Counts) -> Correction:
    """Decide whether a calibration corrects these counts. problem: why there is none that belongs to the labeller."""
    space = counts.labeller
    if calibration is None:
        return Correction(None, space, problem or "no calibration: the labeller's card names none")
    if problem is not None:
        return Correction(calibration, space, problem)
    verdict = transfer.check(_one_face_per_image(counts.observed(calibration.attributes)), calibration.counts)
    return Correction(calibration, space, verdict.reason, verdict)


def _one_face_per_image(data: Data) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return counts (P, K + 1) in which every image weighs as one face: the check takes faces for independent."""
    units = as_units(data)
    sizes = np.maximum(units.kinds.sum(axis=1, keepdims=True), 1)
    counts = units.times @ (units.kinds / sizes)
    return np.asarray(np.round(counts), dtype=np.int64)
