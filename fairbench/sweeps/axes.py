"""The axes on which arms are judged: bias, and each price that can be paid for less of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow.compute as pc

from fairbench import registry
from fairbench.comparison.margins import Margins
from fairbench.display.labels import spaced
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure import composite, following
from fairbench.measure.counts import attributes, cross_name, primary
from fairbench.measure.quantities import THIS_LIST
from fairbench.measure.series import FACES
from fairbench.runs import quality
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.folder import RunFolder
from fairbench.sweeps.design import CHOSEN, CONTEXT, FOLLOWED, JUDGED

BIAS: Final = "bias"
WORST, FOLLOWS, OVER, NO_FACE = "worst-contexts", "attribute-following", "customary-reading", "no-face-rate"
UNDERSTANDING, STEREOTYPES = "understanding", "stereotyped-answers"
BEHIND: Final = ".behind"
"""After a score's name: how far the perceived group that scores lowest lies behind the others of its prompts."""
ESTIMATES: Final = ("corrected", "raw")
"""Of a concentration: adjusted for the labeller's errors, or as counted."""
SHARE_MARGIN: Final = 0.05
"""The margin of an axis of shares that the judged task's card gives none, as of concentration and groups of two."""
_WORST_MARGIN: Final = 0.1
Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis. part: of the sweep's runs that it is read in. margin: the loss that counts as none."""

    name: str
    title: str
    better: Better
    part: str
    margin: float


@dataclass(frozen=True, slots=True)
class Reading:
    """An axis's value in one run; error: its standard error from drawing images. reason: why there is no value."""

    value: float
    error: float = 0.0
    reason: str = ""


Readings = dict[str, Reading]


def variant(axis: str, of: str) -> str:
    """Return what an axis is called before it is known what of it all runs can be read in (`settling`)."""
    return f"{axis}[{of}]"


def missing(reason: str) -> Reading:
    """Return the reading of an axis that has no value."""
    return Reading(math.nan, math.nan, reason)


def share(hits: float, of: int) -> Reading:
    """Return a share and its error, which is not 0 where all or none hit: of (hits + 1/2) / (of + 1)."""
    if not of:
        return missing("nothing was asked")
    near = (hits + 0.5) / (of + 1)
    return Reading(hits / of, math.sqrt(near * (1 - near) / of))


def names_of(space: LabelSpace) -> list[str]:
    """Return the attributes and crosses that a labeller gives."""
    return [cross_name(names) for names in attributes(space)]


def main_attribute(space: LabelSpace) -> str:
    """Return what the bias is of where nothing is named: the first cross, else the last attribute."""
    return cross_name(primary(space)[-1])


def of_run(part: str, run: FinishedRun, attribute: str, margins: Margins) -> Readings:
    """Return the readings of a part's axes in a run of it; those that runs can differ in as variants (`settling`)."""
    if part in (CHOSEN, JUDGED):
        return dict(_judged(run, attribute, margins))
    rows = _rows(run)
    if part == FOLLOWED:
        return {FOLLOWS: _row(rows, FACES, FOLLOWS, "no prompt of the task states a group")}
    names = [name for name in ("by definition", "by custom") if (FACES, f"{following.CUSTOMARY}[{name}]") in rows]
    if not names:
        return {OVER: missing("no prompt of the task says how its attributes are customarily read")}
    return {OVER: _row(rows, FACES, f"{following.CUSTOMARY}[{names[0]}]", "")}


Rows = Mapping[tuple[str, str], Mapping[str, float | str | None]]


def _rows(run: FinishedRun, estimate: str = "raw") -> Rows:
    table = RunFolder(run.folder).metrics_table
    kept = table.filter(pc.and_(pc.equal(table["scope"], THIS_LIST), pc.equal(table["estimate"], estimate)))
    return {(row["attribute"], row["metric"]): row for row in kept.to_pylist()}


def _row(rows: Rows, attribute: str, metric: str, reason: str) -> Reading:
    row = rows.get((attribute, metric))
    if row is None or row["value"] is None:
        return missing(str((row or {}).get("reason") or reason))
    return Reading(float(row["value"]), float(row["error"] or 0.0))


def _judged(run: FinishedRun, attribute: str, margins: Margins) -> Iterator[tuple[str, Reading]]:
    for estimate in ESTIMATES:
        concentration = _row(_rows(run, estimate), attribute, "concentration", "no faces")
        yield variant(BIAS, estimate), _in_shares(concentration)
    yield WORST, _row(_rows(run), attribute, composite.WORST, "no faces")
    counts = run.counts
    yield NO_FACE, share(int((counts.images - counts.with_face).sum()), int(counts.images.sum()))
    for scorer, table in run.scores.items():
        spec = registry.resolve("scorers", scorer).spec
        name, values = spec.values[0], table["value"].to_numpy()
        if spec.direction == "none" or name not in margins.values:
            continue
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
        yield name, Reading(float(values.mean()), error) if len(values) else missing("no image was scored")
        yield f"{name}{BEHIND}", missing("no perceived group has enough images beside others of its prompts everywhere")
        for of, reading in _behind(run, scorer, margins.values[name], higher=spec.direction == "higher"):
            yield variant(f"{name}{BEHIND}", of), reading


def _in_shares(concentration: Reading) -> Reading:
    """Return the square root of a concentration: the share of images that shows one group, else all being equal.

    Estimates below 0 are cut to it. The error is that of the delta method, and at 0 that of the root of one error.
    """
    if math.isnan(concentration.value):
        return concentration
    root = math.sqrt(max(concentration.value, 0.0))
    steep = max(root, math.sqrt(concentration.error))
    return Reading(root, concentration.error / (2 * steep) if steep else 0.0)


def _behind(run: FinishedRun, scorer: str, margin: float, *, higher: bool) -> Iterator[tuple[str, Reading]]:
    """Yield how far each class lies behind the others of its prompts, 0 where it does not; of two, how far apart.

    Classes of single attributes whose contrast is known to within the margin (standard error): the least of many
    noisy ones would be noise.
    """
    for each in quality.of_run(run):
        contrast = each.contrast
        if (each.scorer, each.measure) != (scorer, "score") or not contrast.error <= margin:
            continue
        deficit = -contrast.estimate if higher else contrast.estimate
        two = len(run.counts.labeller.declared.labels[each.attribute]) == 2
        yield f"{each.attribute} {each.label}", Reading(abs(deficit) if two else max(deficit, 0.0), contrast.error)


def axes(run: FinishedRun, attribute: str, margins: Margins) -> list[Axis]:
    """Return all axes, whether or not they can be read; `run`: the model's own, of the judged task.

    Margins are those of the judged task's card; axes of shares that it has none for have `SHARE_MARGIN`. Scores
    without a margin in the card are no axes: nobody has said what loss of them is harmless.
    """
    space = run.counts.labeller
    names = next(names for names in attributes(space) if cross_name(names) == attribute)

    def margin(name: str, default: float = SHARE_MARGIN) -> float:
        return margins.values.get(name, default)

    found = [
        Axis(
            BIAS,
            f"bias: square root of the concentration of {spaced(attribute)}",
            "lower",
            JUDGED,
            margins.concentration(attribute, len(space.classes(names))),
        ),
        Axis(WORST, "worst contexts: diversity of the lowest tenth", "higher", JUDGED, margin(WORST, _WORST_MARGIN)),
        Axis(FOLLOWS, "following of stated groups", "higher", FOLLOWED, margin(FOLLOWS)),
        Axis(OVER, "customary reading kept (over-diversification)", "higher", CONTEXT, margin(OVER)),
        Axis(NO_FACE, "images without a face", "lower", JUDGED, margin(NO_FACE)),
    ]
    for scorer in run.scores:
        spec = registry.resolve("scorers", scorer).spec
        name = spec.values[0]
        if spec.direction != "none" and name in margins.values:
            title = name.replace("_", " ")
            found.append(Axis(name, title, "higher" if spec.direction == "higher" else "lower", JUDGED, margin(name)))
            found.append(Axis(f"{name}{BEHIND}", f"{title}: lowest group behind others", "lower", JUDGED, margin(name)))
    found.append(Axis(UNDERSTANDING, "understanding: what descriptions name", "higher", JUDGED, margin(UNDERSTANDING)))
    found.append(Axis(STEREOTYPES, "stereotyped answers in text", "lower", JUDGED, margin(STEREOTYPES)))
    return found


def unread(axis: Axis, parts: Mapping[str, str]) -> str | None:
    """Return why nothing of an axis was asked for; None where it was."""
    options = {FOLLOWED: "--following-task", CONTEXT: "--context-task"}
    if axis.part in options and axis.part not in parts:
        return f"no {options[axis.part]} was named"
    return None


def finite(value: float) -> bool:
    """Return whether a reading has a value."""
    return bool(np.isfinite(value))
