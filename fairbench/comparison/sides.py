"""The runs of a comparison, brought to the same prompts in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.errors import FairbenchError
from fairbench.measure.counts import attributes
from fairbench.runs import evidence
from fairbench.runs.evidence import FinishedRun
from fairbench.stats.units import Data, Units
from fairbench.storage.ids import IntArray

BY_PROMPT = "paired by prompt"
SAME_BASE = (
    f"{BY_PROMPT} (same base model and seed: images share their noise, which the interval does not use, so it is "
    "cautious)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A run in a comparison. letter: A is the baseline. place: (P,), where each common prompt stands in the run."""

    letter: str
    name: str
    run: FinishedRun
    place: IntArray

    @property
    def quota(self) -> bool:
        """Whether the method fixes how many images show which group, so that counts are no multinomial sample."""
        return self.run.record.get("quota") is True

    @property
    def alone(self) -> int:
        """How many prompts of the run another run lacks."""
        return len(self.run.prompts) - len(self.place)

    def data(self, names: Sequence[str]) -> Data:
        """Return `Counts.data` of the common prompts."""
        return rows(self.run.counts.data(names), self.place)

    def observed(self, names: Sequence[str]) -> Data:
        """Return `Counts.observed` of the common prompts."""
        return rows(self.run.counts.observed(names), self.place)


def rows(data: Data, which: IntArray | np.ndarray[Any, np.dtype[np.bool_]]) -> Data:
    """Return what `data` holds of some prompts (places, or a mask)."""
    return Units(data.kinds, data.times[which]) if isinstance(data, Units) else data[which]


def read(folders: Sequence[Path]) -> list[Side]:
    """Read runs and find their common prompts, in an order that no run decides (their ids').

    Raises FairbenchError: fewer than two folders, a folder that holds no finished run, no prompt that all runs have.
    """
    if len(folders) < 2:
        raise FairbenchError("compare needs two runs or more: name another run folder.")
    runs = [evidence.read(folder) for folder in folders]
    places = [{p.neutral_id: i for i, p in enumerate(run.prompts)} for run in runs]
    common = sorted(set.intersection(*(set(place) for place in places)))
    if not common:
        tasks = " and ".join(dict.fromkeys(str(run.record["task"]["name"]) for run in runs))
        raise FairbenchError(f"The runs have no prompt in common (task {tasks}): compare runs of one task.")
    letters = [chr(ord("A") + i) if i < 26 else f"R{i + 1}" for i in range(len(runs))]
    return [
        Side(letter, name, run, np.array([place[n] for n in common], dtype=np.int64))
        for letter, name, run, place in zip(letters, evidence.names(runs), runs, places, strict=True)
    ]


def shared_attributes(a: Side, b: Side) -> list[tuple[str, ...]]:
    """Return the attributes and crosses that both labellers declare with the same labels, in any order."""
    first, second = (
        {names: [set(s.run.counts.labeller.declared.labels[n]) for n in names]
         for names in attributes(s.run.counts.labeller)} for s in (a, b)
    )  # fmt: skip
    return [names for names, labels in first.items() if second.get(names) == labels]


def primary_attributes(side: Side) -> list[tuple[str, ...]]:
    """Return the attributes of the few comparisons that count: gender, race, and their cross.

    They are the first declared cross and its parts; without a cross, the attributes that classifiers give.
    """
    space = side.run.counts.labeller
    if not space.card.crosses:
        return [(name,) for name in space.base.labels]
    cross = tuple(space.card.crosses[0])
    return [*((name,) for name in cross), cross]


def same_labeller(a: Side, b: Side) -> bool:
    """Whether two runs were labelled alike: weights and plug-ins' versions count, titles and calibrations do not."""
    one, two = (side.run.record["labeller_id"] for side in (a, b))
    return bool(one == two)


def same_images(a: Side, b: Side) -> bool:
    """Whether two runs looked at exactly the same images."""
    one, two = ({r.request.image_id for r in s.run.rows} for s in (a, b))
    return one == two


def pairing(a: Side, b: Side) -> str:
    """Say how two runs are paired. Common noise is claimed only for one base model, drawn with one seed."""
    one, two = a.run.record, b.run.record
    same = one["keys"]["images"] == two["keys"]["images"]
    if not same and (one["model"].get("lora") or two["model"].get("lora")):
        # The image key covers base and adapter at once; states of one base differ in nothing else.
        base = ("adapter", "weights", "sampling")
        same = all(one["model"][field] == two["model"][field] for field in base) and one["dtype"] == two["dtype"]
    return SAME_BASE if same and one["declared"]["seed"] == two["declared"]["seed"] else BY_PROMPT
