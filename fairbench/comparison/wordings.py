"""Whether the order of the runs depends on the wording: of tasks that ask for each subject in several wordings."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fairbench.comparison.sides import Side, of_prompts, primary_attributes
from fairbench.display.labels import spaced
from fairbench.measure import wordings
from fairbench.measure.counts import cross_name
from fairbench.stats.difference import concentration_difference
from fairbench.stats.multiplicity import holm


@dataclass(frozen=True, slots=True)
class Orders:
    """The runs by mean concentration of an attribute, the least first, as letters.

    overall: over the prompts of all wordings. of: wording -> the order there. reversals: (wording, run that is less
    concentrated there, other run) of pairs whose order there is shown to be another than overall, by Holm over all
    pairs and wordings. Prompts with too few faces in any run are left out of all.
    """

    attribute: str
    overall: str
    of: dict[str, str]
    reversals: list[tuple[str, str, str]]


def orders(sides: Sequence[Side], alpha: float) -> list[Orders]:
    """Return the orders of each primary attribute; none where the prompts do not come in several wordings."""
    found = wordings.crossing([sides[0].run.prompts[i] for i in sides[0].positions])
    if found is None or any(side.quota for side in sides):
        return []
    cells = dict(zip(found.wordings, found.cells.T, strict=True))
    return [o for names in primary_attributes(sides[0]) if (o := _of_attribute(sides, names, cells, alpha)) is not None]


def _of_attribute(
    sides: Sequence[Side], names: Sequence[str], cells: dict[str, np.ndarray], alpha: float
) -> Orders | None:
    data = [side.data(names) for side in sides]
    effects: dict[tuple[str, int, int], tuple[float, float]] = {}
    means: dict[str, list[float]] = {}
    for wording, prompts in {"": np.concatenate(list(cells.values())), **cells}.items():
        parts = [of_prompts(each, prompts) for each in data]
        for i, j in itertools.combinations(range(len(sides)), 2):
            effect = concentration_difference(parts[i], parts[j]).effect
            effects[wording, i, j] = (effect.estimate, effect.p_value())
        # Against the first run, over the prompts that both have: NaN where there are none.
        means[wording] = [0.0, *(effects[wording, 0, j][0] for j in range(1, len(sides)))]
    if any(math.isnan(mean) for values in means.values() for mean in values):
        return None
    tested = [key for key in effects if key[0]]
    adjusted = holm([effects[key][1] for key in tested])
    reversals = []
    for (wording, i, j), p in zip(tested, adjusted, strict=True):
        there, overall = effects[wording, i, j][0], effects["", i, j][0]
        if p <= alpha and there * overall < 0:
            low, high = (j, i) if there < 0 else (i, j)
            reversals.append((wording, sides[low].letter, sides[high].letter))
    letters = {w: "".join(sides[i].letter for i in np.argsort(values, kind="stable")) for w, values in means.items()}
    return Orders(cross_name(names), letters.pop(""), letters, reversals)


def sentences(found: Sequence[Orders]) -> Iterator[str]:
    """Yield a sentence per attribute: the order overall, how many wordings have it, and which pairs are reversed."""
    for each in found:
        same = sum(order == each.overall for order in each.of.values())
        others = Counter(order for order in each.of.values() if order != each.overall)
        listed = ", ".join(f"{' '.join(order)} in {times}" for order, times in others.most_common())
        reversed_ = "; ".join(f"{low} before {high} in {wording}" for wording, low, high in each.reversals)
        yield (
            f"By wording, the least concentrated first: {spaced(each.attribute)} {' '.join(each.overall)} in {same} of "
            f"{len(each.of)} wordings{f' ({listed})' if listed else ''}; "
            f"{'shown to be reversed: ' + reversed_ if reversed_ else 'no pair is shown to be reversed'}."
        )
