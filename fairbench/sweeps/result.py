"""What a sweep found: arms on axes, over seeds; which are shown to be dominated, and by which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fairbench.stats import domination
from fairbench.sweeps.arms import BASE, Arm
from fairbench.sweeps.axes import BIAS, Axis, Reading, finite

ANALOGUE: Final = (
    "FairReason (arXiv 2507.23067) asked of language models which ratio of debiasing to capability data serves best "
    "under one budget. Asked here of image generation, this is an analogue; it neither confirms nor refutes FairReason."
)
ByRun = Mapping[tuple[str, int], Mapping[str, Reading]]
"""Arm (`BASE` for the model itself) and seed -> axis -> what was read."""


@dataclass(frozen=True, slots=True)
class Summary:
    """An arm on an axis: the mean over its trainings, with Student's interval over them, and what was read of each."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """arms: all, the controls last; compared: names of those that are compared, which had the same budget.

    summaries: arm, and `BASE`, -> axis -> summary. left_out: axis title -> why it is no axis here. comparison: of the
    compared arms on the axes, in their order. choice: see `choice.made`. plan, spent: what was planned and used.
    read_of: axis -> what of it was read in all runs (`settling`). shared: see `independence.checked`.
    """

    arms: tuple[Arm, ...]
    axes: tuple[Axis, ...]
    left_out: dict[str, str]
    summaries: dict[str, dict[str, Summary]]
    comparison: domination.Domination
    alpha: float
    seeds: tuple[int, ...]
    choice: Mapping[str, Any]
    plan: Mapping[str, Any]
    spent: Mapping[str, Sequence[Mapping[str, Any]]]
    read_of: Mapping[str, Sequence[str]]
    shared: Mapping[str, Any]

    @property
    def compared(self) -> list[str]:
        """The names of the arms that had the same budget."""
        return [arm.name for arm in self.arms if not arm.control]

    def dominated_by(self, arm: str) -> list[str]:
        """Return the arms that are shown to dominate an arm."""
        names = self.compared
        if arm not in names:
            return []
        shown = self.comparison.dominates[:, names.index(arm)]
        return [name for name, dominates in zip(names, shown, strict=True) if dominates]

    def seconds(self, arm: str) -> tuple[float | None, float | None]:
        """Return the seconds that were planned for a training of an arm, its set included, and the mean spent."""
        planned = self.plan["arms"][arm].get("seconds")
        known = [row["seconds"] for row in self.spent[arm] if row["seconds"] is not None]
        data = planned["data"] if planned else 0.0
        return (planned["planned"] if planned else None), (data + float(np.mean(known)) if known else None)


def result(
    arms: Sequence[Arm],
    axes: Sequence[Axis],
    unread: Mapping[str, str],
    readings: ByRun,
    seeds: Sequence[int],
    alpha: float,
    **rest: Any,
) -> Result:
    """Return the result. axes: all; unread: axis -> why nothing of it was asked for; rest: further fields.

    An axis that any arm lacks a value of is left out for all, with the reason.
    """
    left_out = {axis.title: unread[axis.name] for axis in axes if axis.name in unread}
    kept = list[Axis]()
    for axis in axes:
        if axis.name in unread:
            continue
        if gap := _gap(axis, [arm.name for arm in arms], readings, seeds):
            left_out[axis.title] = gap
        else:
            kept.append(axis)
    compared = [arm.name for arm in arms if not arm.control]
    values, errors = (_table(compared, kept, readings, seeds, field) for field in ("value", "error"))
    higher, margins = [axis.better == "higher" for axis in kept], [axis.margin for axis in kept]
    summaries = {name: _summaries(name, kept, readings, seeds) for name in (BASE, *(arm.name for arm in arms))}
    comparison = domination.compare(values, errors, higher, margins, alpha)
    return Result(tuple(arms), tuple(kept), left_out, summaries, comparison, alpha, tuple(seeds), **rest)


def _gap(axis: Axis, arms: Sequence[str], readings: ByRun, seeds: Sequence[int]) -> str | None:
    """Return why an axis is left out; None where every training has a value."""
    for arm in arms:
        for seed in seeds:
            reading = readings[arm, seed].get(axis.name)
            if reading is None or not finite(reading.value):
                return f"{arm}, seed {seed}: {reading.reason if reading else 'nothing was read'}"
    return None


def _table(arms: Sequence[str], axes: Sequence[Axis], readings: ByRun, seeds: Sequence[int], field: str) -> np.ndarray:
    """Return a field of the readings, (arms, axes, seeds); errors that are not known are 0."""
    rows = [[[getattr(readings[arm, s][axis.name], field) for s in seeds] for axis in axes] for arm in arms]
    table = np.array(rows, dtype=np.float64).reshape(len(arms), len(axes), len(seeds))
    return np.nan_to_num(table) if field == "error" else table


def _summaries(arm: str, axes: Sequence[Axis], readings: ByRun, seeds: Sequence[int]) -> dict[str, Summary]:
    known = [axis for axis in axes if _gap(axis, [arm], readings, seeds) is None]  # the model itself may lack some
    values, errors = (_table([arm], known, readings, seeds, field) for field in ("value", "error"))
    found = domination.means(values, errors)
    return {
        axis.name: Summary(
            float(found.mean[0, j]),
            float(found.low[0, j]),
            float(found.high[0, j]),
            tuple(values[0, j].tolist()),
            tuple(errors[0, j].tolist()),
        )
        for j, axis in enumerate(known)
    }


def record(found: Result, identity: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the content of sweep.json; None stands for a number that is not known."""
    arms = [_of_arm(found, arm) for arm in found.arms]
    content = {
        "fairbench": version,
        "kind": "sweep",
        "question": ANALOGUE,
        "settings": dict(identity),
        "axes": [asdict(axis) for axis in found.axes],
        "left_out": found.left_out,
        "read_of": found.read_of,
        "shared_with_judging": found.shared,
        "base": {axis: asdict(of) for axis, of in found.summaries[BASE].items()},
        "arms": arms,
        "alpha": found.alpha,
        "comparisons": _comparisons(found),
        "choice": dict(found.choice),
    }
    return dict(_plain(content))


def _of_arm(found: Result, arm: Arm) -> dict[str, Any]:
    planned = found.plan["arms"][arm.name]
    of_plan, spent = found.seconds(arm.name)
    return {
        "name": arm.name,
        "trainer": arm.trainer,
        "retain": arm.retain,
        "control": arm.control,
        "steps": planned["steps"],
        "tokens": {name: planned[name] for name in ("trained", "debiasing", "drawn")},
        "labeller_calls": planned["labelled"],
        "seconds": {"planned": of_plan, "spent": spent, "trainings": [dict(row) for row in found.spent[arm.name]]},
        "axes": {axis: asdict(of) for axis, of in found.summaries[arm.name].items()},
        "dominated_by": found.dominated_by(arm.name),
    }


def _comparisons(found: Result) -> list[dict[str, Any]]:
    """Return every ordered pair of compared arms on every axis; positive differences are better."""
    of, names = found.comparison, found.compared
    return [
        {
            "arm": names[a],
            "against": names[b],
            "axis": axis.name,
            "difference": of.difference[a, b, j],
            "low": of.low[a, b, j],
            "high": of.high[a, b, j],
            "margin": axis.margin,
            "p_not_inferior": of.not_inferior[a, b, j],
            "p_better": of.better[a, b, j],
            "p_better_adjusted": of.better_adjusted[a, b, j],
        }
        for a in range(len(names))
        for b in range(len(names))
        if a != b
        for j, axis in enumerate(found.axes)
    ]


def _plain(value: Any) -> Any:
    """Return plain data: NaN as None, and numbers of numpy as Python's."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def front(found: Result, price: str) -> set[str]:
    """Return the compared arms whose means no other compared arm's means are better than, in bias and one price."""
    better = {axis.name: 1 if axis.better == "higher" else -1 for axis in found.axes}
    at = {name: [better[x] * found.summaries[name][x].mean for x in (BIAS, price)] for name in found.compared}
    return {
        name
        for name, own in at.items()
        if not any(_beats(other, own) for other_name, other in at.items() if other_name != name)
    }


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(one, other, strict=True)) and list(one) != list(other)
