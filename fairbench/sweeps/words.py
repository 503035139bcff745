"""A sweep in words and tables, as the terminal and the page show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, whole, with_interval
from fairbench.display.tables import Column, Table, numbers
from fairbench.sweeps.arms import BASE
from fairbench.sweeps.axes import BIAS, FOLLOWS, Axis
from fairbench.sweeps.result import ANALOGUE, Result

ENOUGH_SEEDS: Final = 5
"""Seeds from which on differences as large as the margins are mostly found (docs/sweep.md)."""
_LARGE: Final = 100.0


def places(value: float) -> int:
    """Return the decimal places in which an axis's values are shown."""
    return 2 if abs(value) >= 1 else 3


def main_axes(result: Result) -> list[Axis]:
    """Return the three axes of the short table: bias, following, and the first score or whatever comes next."""
    first = [axis for axis in result.axes if axis.name in (BIAS, FOLLOWS)]
    scores = [axis for axis in result.axes if axis.margin >= 1 and axis not in first]
    return (first + [axis for axis in (*scores, *result.axes) if axis not in first])[:3]


def arms_table(result: Result) -> Table:
    """Return the short table: an arm a row, with three axes and by whom it is dominated."""
    shown = main_axes(result)
    heads = [axis.name.replace("-", "\n", 1).replace("_", " ") for axis in shown]
    note = "±: half of the 95 % interval over trainings."
    table = Table([Column("arm"), *numbers("steps", *heads), Column("dominated\nby", wraps=True)], note=note)
    table.add(BASE, "", *(_short(result, BASE, axis) for axis in shown))
    for arm in result.arms:
        by = ", ".join(result.dominated_by(arm.name)) or ("not compared" if arm.control else "")
        steps = whole(result.plan["arms"][arm.name]["steps"])
        table.add(arm.name, steps, *(_short(result, arm.name, axis) for axis in shown), by)
    return table


def axis_table(result: Result, axis: Axis) -> Table:
    """Return an axis's table: an arm a row, its mean with the interval over seeds, and every seed's value."""
    title = f"{axis.title} ({axis.better} is better; margin {number(axis.margin, places(axis.margin))})"
    table = Table([Column("arm"), *numbers("mean [95 % over seeds]", *(f"seed {s}" for s in result.seeds))], title)
    for name in (BASE, *(arm.name for arm in result.arms)):
        found = result.summaries[name].get(axis.name)
        values = [number(v, places(v)) for v in found.values] if found else []
        table.add(name, _cell(result, name, axis), *values)
    return table


def costs_table(result: Result) -> Table:
    """Return what each training cost."""
    heads = ("steps", "seconds\nplanned", "seconds\nspent", "tokens\ntrained", "of them\ndebiasing")
    table = Table([Column("arm"), *numbers(*heads, "tokens\ndrawn", "labeller\ncalls")], "What a training cost")
    for arm in result.arms:
        plan = result.plan["arms"][arm.name]
        seconds = ["" if s is None else number(s, 0) for s in result.seconds(arm.name)]
        used = [whole(round(plan[name])) for name in ("trained", "debiasing", "drawn", "labelled")]
        table.add(arm.name, whole(plan["steps"]), *seconds, *used)
    return table


def _short(result: Result, arm: str, axis: Axis) -> str:
    """Return a mean and half the length of its interval, which fit a terminal."""
    found = result.summaries[arm].get(axis.name)
    if found is None:
        return ""
    return f"{number(found.mean, places(found.mean))} ±{number((found.high - found.low) / 2, places(found.mean))}"


def _cell(result: Result, arm: str, axis: Axis) -> str:
    found = result.summaries[arm].get(axis.name)
    if found is None:
        return ""
    return with_interval(found.mean, found.low, found.high, places(found.mean))


def verdicts(result: Result) -> Iterator[str]:
    """Yield what was shown, and what the design could not have shown."""
    dominated = {arm: by for arm in result.compared if (by := result.dominated_by(arm))}
    for arm, by in dominated.items():
        yield f"{arm} is shown to be dominated by {', '.join(by)}."
    if not dominated:
        yield "No arm is shown to be dominated by another."
    yield from _shared(result.shared)
    seeds = len(result.seeds)
    if seeds < ENOUGH_SEEDS:
        yield (
            f"The units are trainings: with {seeds} per arm only differences of many times their scatter can be shown, "
            "and that nothing is shown says little."
        )
    chosen = result.choice["arm"]
    if chosen:
        yield f"Chosen before anything was judged: {chosen} ({result.choice['rule']})."
    yield from (f"Left out: {title} ({reason})." for title, reason in result.left_out.items())


def _shared(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what makes judging less independent than it looks."""
    if found["taught"]:
        arms = ", ".join(found["taught"])
        yield (
            f"The judge {found['judge']} is the labeller whose labels went into the training of {arms}: a training can "
            "learn its labeller's errors, which this judge does not see."
        )
    if found["prompts_of_set"] or found["subjects_of_set"] or found["subjects_of_choice"]:
        yield (
            f"Of {found['prompts']} judged prompts, {found['prompts_of_set']} are the balanced set's; of "
            f"{found['subjects']} judged subjects, {found['subjects_of_set']} are the set's and "
            f"{found['subjects_of_choice']} those that an arm is chosen on: on these, nothing is said of new ones."
        )


def _read_of(read_of: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield what was read of an axis, the same in all runs."""
    estimate = "adjusted for the judge's errors" if "corrected" in read_of[BIAS] else "as counted"
    yield f"The bias of all runs is {estimate}."
    for axis, classes in read_of.items():
        if axis != BIAS and classes:
            yield f"{axis} compares {', '.join(map(spaced, classes))}, which every training shows often enough."


def notes(result: Result) -> Iterator[str]:
    """Yield what holds of every sweep."""
    yield (
        "Dominated: another arm with the same budget is inferior on no axis by its margin (each at level "
        f"{result.alpha:g}) and better on at least one (Holm over all axes and ordered pairs), by Student's t "
        "over trainings of one seed."
    )
    yield from _read_of(result.read_of)
    yield from (
        f"{arm.name} had as many debiasing tokens as {arm.trainer}-0, and so a larger budget: it is compared with none."
        for arm in result.arms
        if arm.control
    )
    yield ANALOGUE
