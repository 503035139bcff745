"""A run's calibration, made ready: which attributes it corrects, and of the others the one sentence why not."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from fairbench.labelling.confusion import Calibration
from fairbench.labelling.domain import Domain
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.counts import Counts, attributes, cross_name
from fairbench.stats import conditioning, correction_interval, transfer
from fairbench.stats.units import Data, as_units
from fairbench.types import FloatArray

_SEED: Final = 1986
_DRAWS: Final = 400
_BEYOND: Final = 3.0
"""Standard errors beyond the possible at which a corrected value refuses its calibration."""
_ERRORS = "the labeller errs on these images as it did on the calibration's ({domain}), whatever the prompt"
_SETTLE = "labels by people of some of this run's images (fairbench annotate) would settle it"


@dataclass(frozen=True, slots=True)
class Source:
    """What corrects an attribute. calibration: the counted table, or its margin. groups: the class of each cell."""

    calibration: Calibration
    groups: list[int]
    check: conditioning.Conditioning


class Correction:
    """What is known of a labeller's errors. reason: why nothing at all is corrected; None: ask `refused` by attribute.

    other_domain: whether the calibration is of other images than the run's, so that there are ranges and no values.
    The confusion table is kept even where counts are not corrected: floors and ceilings need no more than it.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        space: LabelSpace,
        reason: str | None = None,
        counts: Counts | None = None,
        images: Domain | None = None,
    ) -> None:
        self.calibration, self.space, self.reason, self._counts, self.images = (
            calibration,
            space,
            reason,
            counts,
            images,
        )
        self._sources: dict[tuple[str, ...], Source | None] = {}

    @property
    def sha256(self) -> str | None:
        """The hash of the calibration's numbers, None where there is no calibration."""
        return None if self.calibration is None else fingerprint(self.calibration)

    @property
    def other_domain(self) -> str | None:
        """Why corrected values are ranges: of what the calibration's images and these are. None where they are one."""
        if self.calibration is None or self.images is None or self.calibration.images_of.holds_for(self.images):
            return None
        return f"the calibration is of {self.calibration.domain}, these images are {self.images.words}"

    @property
    def assumptions(self) -> str | None:
        """What every corrected value assumes, in a sentence; None where nothing is corrected."""
        if self.calibration is None or self.reason is not None:
            return None
        if self.other_domain is not None:
            return (
                f"Corrected values are ranges, from no errors to the calibration's: {self.other_domain}. "
                f"They hold if errors are no larger than on those images, whatever the prompt; {_SETTLE}."
            )
        sentence = "Corrected values assume that " + _ERRORS.format(domain=self.calibration.domain)
        if len(self.calibration.rows) == len(self.calibration.cells):
            sentence += ", and that an image that shows nobody yields no face"
        return f"{sentence}. {self._seen()}".rstrip()

    def _seen(self) -> str:
        """Return for which attributes the counts could not have shown that errors differ here."""
        blind = [
            cross_name(n) for n, fit in self._fits.items() if fit.power < transfer.SEEN and self.refused(n) is None
        ]
        if not blind:
            return ""
        return (
            f"For {', '.join(blind)} the counts cannot show it: too few prompts lean to one class, so a labeller that "
            "makes half of these errors here would rarely be noticed."
        )

    def refused(self, names: Sequence[str]) -> str | None:
        """Return why an attribute or cross is not corrected; None where it is, by a value or a range."""
        if self.reason is not None:
            return self.reason
        source, parts = self.source(names), [(name,) for name in names] if len(names) > 1 else []
        if source is None:
            return f"the calibration does not cover {cross_name(names)}"
        if source.check.reason is not None:
            return source.check.reason
        if self.other_domain is not None or self._counts is None:
            return None
        fits = self._fits
        own = fits[tuple(names)].reason if tuple(names) in fits else None
        of_part = next((f"{part[0]}: {why}" for part in parts if (why := self.refused(part)) is not None), None)
        return own or of_part or self._impossible.get(tuple(names))

    def mark(self, names: Sequence[str]) -> str | None:
        """Return what to say of a correction that rests on few images, or on the margin of the counted table."""
        source, whole = self.source(names), self.calibration
        if source is None or whole is None:
            return None
        marks = []
        if source.check.images < conditioning.FEW_IMAGES:
            marks.append(f"few images: {source.check.images} in the calibration's smallest row")
        if source.calibration is not whole:
            marks.append(f"errors of {cross_name(source.calibration.attributes)} counted without the other attributes")
        return "; ".join(marks) or None

    @property
    def refusals(self) -> dict[str, str]:
        """The attributes and crosses that are not corrected, and why."""
        refused = {cross_name(names): self.refused(names) for names in attributes(self.space)}
        return {name: reason for name, reason in refused.items() if reason is not None}

    def source(self, names: Sequence[str]) -> Source | None:
        """Return what corrects an attribute or cross, None where the calibration does not cover it.

        It is the whole table; where that has too few images or cannot be inverted, the margin of these attributes.
        """
        key = tuple(names)
        if key not in self._sources:
            self._sources[key] = self._find_source(key)
        return self._sources[key]

    def _find_source(self, names: tuple[str, ...]) -> Source | None:
        whole = self.calibration
        groups = None if whole is None else self._groups(names, whole)
        if whole is None or groups is None:
            return None
        source = Source(whole, groups, conditioning.check(whole.counts))
        used = {reader[0] for name in names if (reader := self._reader(name, whole.attributes)) is not None}
        if source.check.reason is None or len(used) == len(whole.attributes):
            return source
        margin = whole.margin([whole.attributes[i] for i in sorted(used)])
        groups = self._groups(names, margin)
        return source if groups is None else Source(margin, groups, conditioning.check(margin.counts))

    def groups(self, names: Sequence[str]) -> list[int] | None:
        """Return the class of an attribute or cross to which each cell of its source belongs; None: not covered."""
        source = self.source(names)
        return None if source is None else source.groups

    def observed(self, names: Sequence[str], counts: Counts) -> Data:
        """Return a run's counts (P, K + 1) in the cells of the attribute's source, and without a face."""
        source = self.source(names)
        assert source is not None
        return counts.observed(source.calibration.attributes)

    def _groups(self, names: Sequence[str], calibration: Calibration) -> list[int] | None:
        all_readers = [self._reader(name, calibration.attributes) for name in names]
        readers = [reader for reader in all_readers if reader is not None]
        if len(readers) < len(names):
            return None
        classes = list(itertools.product(*(self.space.declared.labels[name] for name in names)))
        cells = [tuple(label_of[cell[position]] for position, label_of in readers) for cell in calibration.cells]
        return [classes.index(cell) for cell in cells] if set(cells) == set(classes) else None

    def _reader(self, name: str, calibrated: Sequence[str]) -> tuple[int, dict[str, str]] | None:
        """Return which calibrated attribute gives `name`, and its label for each of that attribute's."""
        if name in calibrated:
            return calibrated.index(name), {label: label for label in self.space.declared.labels[name]}
        source = self.space.card.attributes[name].source
        if source is None or source not in calibrated:
            return None
        return calibrated.index(source), dict(self.space.card.attributes[name].map)

    def table(self, names: Sequence[str]) -> FloatArray | None:
        """Return P(read as class | true cell, face or not), (cells, K); None where it is unknown.

        Counts that the table cannot have given do not make it unknown, another labeller's table is.
        """
        source = self.source(names)
        if source is None or self.reason is not None:
            return None
        rates = source.calibration.rates()[: len(source.calibration.cells), :-1]
        if np.isnan(rates).any() or (rates.sum(axis=1) == 0).any():
            return None
        return np.asarray(rates @ np.eye(max(source.groups) + 1)[source.groups])

    @cached_property
    def _fits(self) -> dict[tuple[str, ...], transfer.Fit]:
        """How the run's counts fit, of every attribute and cross that could be corrected."""
        fits: dict[tuple[str, ...], transfer.Fit] = {}
        if self._counts is None or self.other_domain is not None:
            return fits
        usable = [tuple(n) for n in attributes(self.space) if (s := self.source(n)) and s.check.reason is None]
        by_table = itertools.groupby(sorted(usable, key=self._tested_by), self._tested_by)
        for calibrated, group in by_table:
            tested = list(group)
            sources = [source for names in tested if (source := self.source(names)) is not None]
            read = _one_face_per_image(self._counts.observed(calibrated))
            rng = np.random.default_rng(_SEED)
            found = transfer.check(read, sources[0].calibration.counts, [s.groups for s in sources], rng)
            fits |= dict(zip(tested, found, strict=True))
        return fits

    def _tested_by(self, names: tuple[str, ...]) -> tuple[str, ...]:
        source = self.source(names)
        return () if source is None else source.calibration.attributes

    @cached_property
    def _impossible(self) -> dict[tuple[str, ...], str]:
        """The attributes whose corrected concentration lies beyond its range, and the sentence about it."""
        impossible = {}
        for names in self._fits:
            source = self.source(names)
            assert source is not None and self._counts is not None
            observed, rng = self.observed(names, self._counts), np.random.default_rng(_SEED)
            counts, groups = source.calibration.counts, source.groups
            value = correction_interval.concentration_interval(observed, counts, "this list", rng, groups, draws=_DRAWS)
            beyond = max(value.estimate - 1, -value.estimate) / value.error if value.error > 0 else 0.0
            if beyond > _BEYOND:
                impossible[names] = (
                    "calibration does not transfer: the corrected concentration would be "
                    f"{value.estimate:.2f}, {beyond:.1f} standard errors beyond what is possible"
                )
        return impossible


def by_class(table: FloatArray, groups: Sequence[int]) -> FloatArray:
    """Return a table's rows by class, (K, K): a fair model shows every class equally often, not every cell."""
    members = np.eye(max(groups) + 1)[list(groups)]
    return np.asarray(members.T @ table / members.sum(axis=0)[:, None])


def fingerprint(calibration: Calibration) -> str:
    """Return a sha256 over what a calibration changes numbers by: its cells, in order, and their counts."""
    parts = [calibration.labeller_id, calibration.attributes, calibration.rows, calibration.columns]
    return hashlib.sha256(repr([*parts, calibration.counts.tolist()]).encode()).hexdigest()


def prepare(calibration: Calibration | None, problem: str | None, counts: Counts, images: Domain) -> Correction:
    """Return how a calibration corrects these counts. problem: why there is none that belongs to the labeller.

    images: what the run's images are.
    """
    if calibration is None:
        problem = problem or "no calibration: the labeller's card names none"
    return Correction(calibration, counts.labeller, problem, counts, images)


def _one_face_per_image(data: Data) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return counts (P, K + 1) in which every image weighs as one face: the check takes faces for independent."""
    units = as_units(data)
    sizes = np.maximum(units.kinds.sum(axis=1, keepdims=True), 1)
    counts = units.times @ (units.kinds / sizes)
    return np.asarray(np.round(counts), dtype=np.int64)
