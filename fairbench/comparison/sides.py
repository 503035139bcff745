"""The runs of a comparison, brought to the same prompts in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.comparison import concepts
from fairbench.comparison.concepts import Positions
from fairbench.display.note import SeenBy
from fairbench.errors import FairbenchError
from fairbench.labelling.table_labeller import is_table, read_by
from fairbench.measure.counts import attributes, primary
from fairbench.runs import evidence
from fairbench.runs.evidence import FinishedRun
from fairbench.stats.units import Data, Units
from fairbench.storage.ids import IntArray

QUOTA = "the method fixes how many images show which group, so that images are no independent draws"
BY_PROMPT = "paired by prompt"
BY_CONCEPT = "paired by concept (other prompts: the difference is that of models, wordings and forms together)"
SAME_BASE = (
    f"{BY_PROMPT} (same base model and seed: images share their noise, which the interval does not use, so it is "
    "cautious)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A run in a comparison. letter: A is the baseline. positions (P,): where each common prompt stands in the run."""

    letter: str
    name: str
    run: FinishedRun
    positions: IntArray

    @property
    def quota(self) -> bool:
        """Whether the method fixes how many images show which group, so that counts are no multinomial sample."""
        return self.run.record.quota

    @property
    def read_by(self) -> SeenBy:
        """What gave the labels of the run."""
        return read_by(self.run.record.labeller)

    @property
    def n_left_out(self) -> int:
        """How many prompts of the run another run lacks."""
        return len(self.run.prompts) - len(self.positions)

    def data(self, names: Sequence[str]) -> Data:
        """Return `Counts.data` of the common prompts."""
        return of_prompts(self.run.counts.data(names), self.positions)

    def observed(self, names: Sequence[str]) -> Data:
        """Return `Counts.observed` of the common prompts."""
        return of_prompts(self.run.counts.observed(names), self.positions)


def of_prompts(data: Data, which: IntArray | np.ndarray[Any, np.dtype[np.bool_]]) -> Data:
    """Return the part of `data` that belongs to some prompts (positions, or a mask)."""
    return Units(data.kinds, data.times[which]) if isinstance(data, Units) else data[which]


def read(folders: Sequence[Path], forms: Sequence[str] | None = None) -> list[Side]:
    """Read runs and return them over their common prompts, ordered by the prompts' ids, so that no run decides.

    Runs without a common prompt are paired by the prompts' concepts, as those of two languages. forms: of each run the
    grammatical form whose prompts are compared, "" for a run without forms; None where no run has several.

    Raises FairbenchError: fewer than two folders, a folder that holds no finished run, no prompt that all runs have.
    """
    if len(folders) < 2:
        raise FairbenchError("compare needs two runs or more: name another run folder.")
    runs = [evidence.read(folder) for folder in folders]
    names = evidence.names(runs)
    position_of: Positions = [{p.neutral_id: i for i, p in enumerate(run.prompts)} for run in runs]
    if forms is not None:
        names = [f"{name} ({form})" if form else name for name, form in zip(names, forms, strict=False)]
    if forms is not None or not set.intersection(*map(set, position_of)):
        position_of = concepts.positions([run.prompts for run in runs], names, forms)
    common = sorted(set.intersection(*map(set, position_of)))
    letters = [chr(ord("A") + i) if i < 26 else f"R{i + 1}" for i in range(len(runs))]
    return [
        Side(letter, name, run, np.array([positions[n] for n in common], dtype=np.int64))
        for letter, name, run, positions in zip(letters, names, runs, position_of, strict=True)
    ]


def shared_attributes(a: Side, b: Side) -> list[tuple[str, ...]]:
    """Return the attributes and crosses that both labellers declare with the same labels, in any order."""
    labels_of_b = _labels(b)
    return [names for names, labels in _labels(a).items() if labels_of_b.get(names) == labels]


def _labels(side: Side) -> dict[tuple[str, ...], list[set[str]]]:
    labeller = side.run.counts.labeller
    return {names: [set(labeller.declared.labels[n]) for n in names] for names in attributes(labeller)}


def primary_attributes(side: Side) -> list[tuple[str, ...]]:
    """Return `counts.primary` of the side's labeller."""
    return primary(side.run.counts.labeller)


def same_labeller(a: Side, b: Side) -> bool:
    """Whether two runs were labelled alike: weights and plug-ins' versions count, titles and calibrations do not.

    Tables of labels that were made elsewhere, of other images and with the same classes, are taken to be alike.
    """
    return a.run.record.labeller_id == b.run.record.labeller_id or (of_tables(a, b) and not same_images(a, b))


def of_tables(a: Side, b: Side) -> bool:
    """Whether the labels of both runs were made elsewhere, with the same classes and crosses."""
    cards = [side.run.record.labeller for side in (a, b)]
    declared = [(card.attributes, card.crosses, card.face_policy) for card in cards]
    return all(map(is_table, cards)) and declared[0] == declared[1]


def same_images(a: Side, b: Side) -> bool:
    """Whether two runs have exactly the same images."""
    images_of_a, images_of_b = ({r.request.image_id for r in side.run.rows} for side in (a, b))
    return images_of_a == images_of_b


def pairing(a: Side, b: Side) -> str:
    """Return how two runs are paired, in words. Only one base model drawn with one seed is said to share noise."""
    ids_of_a, ids_of_b = ([side.run.prompts[i].neutral_id for i in side.positions] for side in (a, b))
    if ids_of_a != ids_of_b:
        return BY_CONCEPT
    record_a, record_b = a.run.record, b.run.record
    same = record_a.keys.images == record_b.keys.images
    if not same and (record_a.model.lora or record_b.model.lora):
        # The image key covers base and adapter at once; states of one base differ in nothing else.
        base_a, base_b = ((r.model.adapter, r.model.weights, r.model.sampling, r.dtype) for r in (record_a, record_b))
        same = base_a == base_b
    return SAME_BASE if same and record_a.declared.seed == record_b.declared.seed else BY_PROMPT
