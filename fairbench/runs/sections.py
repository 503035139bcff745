"""The prompts of a run by category, or by wording: what each section shows, and how it differs from the first one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fairbench.errors import FairbenchError
from fairbench.measure import wordings
from fairbench.measure.counts import attributes, cross_name, primary, telling
from fairbench.runs.evidence import FinishedRun
from fairbench.stats import gaffke, intervals
from fairbench.stats.estimands import Floats
from fairbench.stats.intervals import PromptValues, Scope
from fairbench.stats.multiplicity import holm
from fairbench.storage.ids import IntArray
from fairbench.types import Prompt

By = Literal["category", "wording"]
FEWEST: Final = 2
"""Prompts of a section: of one prompt each, the prompts themselves are the better view."""
CONCENTRATION: Final = "concentration"


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Names of sections, and which prompts (n,) each has; the first is what the others are compared with.

    paired: whether all sections have the same subjects, in the same order.
    """

    prompts: dict[str, IntArray]
    paired: bool


@dataclass(frozen=True, slots=True)
class SectionValue:
    """A quantity in one section: concentration, or the share of a class.

    low, high: for this list; other_low, other_high: for other prompts. difference: to the first section, with its
    interval for this list (d_low, d_high) and for other prompts (o_low, o_high); p: of no difference, over this list,
    adjusted over all differences of the attribute's family (Holm). NaN where there is none.
    """

    attribute: str
    quantity: str
    section: str
    prompts: int
    value: float
    low: float
    high: float
    other_low: float
    other_high: float
    difference: float = math.nan
    d_low: float = math.nan
    d_high: float = math.nan
    o_low: float = math.nan
    o_high: float = math.nan
    p: float = math.nan


def of_prompts(prompts: Sequence[Prompt], by: By) -> Sections | None:
    """Return the sections of a run's prompts; None where there are fewer than two, or one has too few prompts.

    Prompts that state attributes are no sections: what they show was asked for.
    """
    if any(prompt.stated for prompt in prompts):
        return None
    if by == "wording":
        found = wordings.crossing(prompts)
        columns = {} if found is None else dict(zip(found.wordings, found.cells.T, strict=True))
        return Sections(columns, paired=True) if columns else None
    names = dict.fromkeys(prompt.category for prompt in prompts)
    members = {name: np.array([i for i, p in enumerate(prompts) if p.category == name]) for name in names}
    if len(members) < 2 or "" in members or min(map(len, members.values())) < FEWEST:
        return None
    return _paired(prompts, members) or Sections(members, paired=False)


def _paired(prompts: Sequence[Prompt], members: dict[str, IntArray]) -> Sections | None:
    """Return sections of the subjects that all have, in one order; None where they are not mostly the same subjects."""
    places = [{prompts[i].concept or prompts[i].subject: i for i in indices} for indices in members.values()]
    common = [subject for subject in places[0] if all(subject in other for other in places)]
    sizes = [len(indices) for indices in members.values()]
    # The last subject of a list that was cut may lack a section.
    if len(common) < FEWEST or any(len(p) != n or n > len(common) + 1 for p, n in zip(places, sizes, strict=True)):
        return None
    chosen = (np.array([place[subject] for subject in common]) for place in places)
    return Sections(dict(zip(members, chosen, strict=True)), paired=True)


def of_run(run: FinishedRun, by: By, attribute: str | None = None) -> list[SectionValue]:
    """Return what every section shows of an attribute or cross, None: of the primary ones; empty without sections.

    Raises FairbenchError for an attribute that was not measured.
    """
    space = run.counts.labeller
    parts_of = {cross_name(names): names for names in attributes(space)}
    if attribute is not None and attribute not in parts_of:
        raise FairbenchError(f"Run {run.folder} has no attribute {attribute!r}: it has {', '.join(parts_of)}.")
    sections = of_prompts(run.prompts, by)
    if sections is None:
        return []
    chosen = primary(space) if attribute is None else [parts_of[attribute]]
    values = [value for names in chosen for value in _of_attribute(run, sections, names)]
    if run.record.quota:  # its images are no independent draws
        return [replace(v, p=math.nan, d_low=math.nan, d_high=math.nan, low=math.nan, high=math.nan) for v in values]
    adjusted = holm([value.p for value in values])
    return [replace(value, p=float(p)) for value, p in zip(values, adjusted, strict=True)]


def _of_attribute(run: FinishedRun, sections: Sections, names: Sequence[str]) -> Iterator[SectionValue]:
    """Yield the values of one attribute; of a cross, concentration alone: its classes are many."""
    data = run.counts.data(names)
    concentration = intervals.concentration_of_prompts(data)
    lowest = intervals.lowest_concentration(data)
    yield from _of_quantity(cross_name(names), CONCENTRATION, concentration, (lowest, 1.0), sections)
    if len(names) > 1:
        return
    for index, label in enumerate(telling(run.counts.labeller.classes(names))):
        shares = intervals.share_of_prompts(data, index)
        yield from _of_quantity(cross_name(names), label, shares, (0.0, 1.0), sections)


def _of_quantity(
    attribute: str, quantity: str, values: PromptValues, limits: tuple[float, float], sections: Sections
) -> Iterator[SectionValue]:
    first: PromptValues | None = None
    for name, indices in sections.prompts.items():
        upper = None if values.upper_variance is None else values.upper_variance[indices]
        own = PromptValues(values.value[indices], values.variance[indices], upper)
        of_list, of_others = (_interval(own, scope, limits) for scope in intervals.SCOPES)
        value = SectionValue(attribute, quantity, name, of_list[3], *of_list[:3], *of_others[1:3])
        if first is None:
            first = own
            yield value
        else:
            yield _with_difference(value, first, own, limits, sections.paired)


def _interval(values: PromptValues, scope: Scope, limits: tuple[float, float]) -> tuple[float, float, float, int]:
    """Return the mean, its limits, and the number of prompts."""
    lowest = -np.inf if scope == "this list" and limits[0] < 0 else limits[0]
    found = intervals.interval_of(values, scope, 0.95, lowest, limits[1])
    return found.estimate, found.low, found.high, found.prompts


def _with_difference(
    value: SectionValue, first: PromptValues, own: PromptValues, limits: tuple[float, float], paired: bool
) -> SectionValue:
    """Return the value with its difference from the first section, over the subjects that both have where paired."""
    a, b = _known(first), _known(own)
    if paired:
        a = b = a & b
    if not a.any() or not b.any():
        return value
    estimate = float(own.value[b].mean() - first.value[a].mean())
    error = math.hypot(*(math.sqrt(v.variance[k].sum()) / k.sum() for v, k in ((first, a), (own, b))))
    low, high = _other_prompts(first.value[a], own.value[b], limits, paired)
    value = replace(value, difference=estimate, o_low=low, o_high=high)
    if not error > 0:
        return value
    reach, p = intervals.Z_95 * error, float(2 * ndtr(-abs(estimate) / error))
    return replace(value, d_low=max(estimate - reach, -1.0), d_high=min(estimate + reach, 1.0), p=p)


def _other_prompts(first: Floats, own: Floats, limits: tuple[float, float], paired: bool) -> tuple[float, float]:
    """Return limits of the mean difference for other prompts; NaN where there are too few."""
    if min(len(first), len(own)) < gaffke.FEWEST:
        return math.nan, math.nan
    if paired:
        width = limits[1] - limits[0]
        low, high = gaffke.mean_interval(own - first, -width, width)
        return float(low), float(high)
    (a_low, a_high), (b_low, b_high) = (gaffke.mean_interval(v, *limits, 0.975) for v in (first, own))
    return float(b_low - a_high), float(b_high - a_low)


def _known(values: PromptValues) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values.value) & ~np.isnan(values.variance))


COLUMNS: Final = {
    "attribute": "attribute",
    "quantity": "quantity",
    "section": "section",
    "prompts": "n_prompts",
    "value": "value",
    "low": "ci_low",
    "high": "ci_high",
    "other_low": "population_ci_low",
    "other_high": "population_ci_high",
    "difference": "difference",
    "d_low": "difference_ci_low",
    "d_high": "difference_ci_high",
    "o_low": "difference_population_ci_low",
    "o_high": "difference_population_ci_high",
    "p": "p_adjusted",
}
"""Field of SectionValue -> what `Run.sections` calls it."""


def as_rows(values: Sequence[SectionValue]) -> list[dict[str, Any]]:
    """Return a row per value, with the names of COLUMNS."""
    return [{column: getattr(value, name) for name, column in COLUMNS.items()} for value in values]
