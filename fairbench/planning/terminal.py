"""What a power analysis prints: the images and prompts needed, a curve, and in sentences what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from fairbench.display.labels import spaced
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, whole
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers
from fairbench.planning.analysis import IMAGES, Analysis
from fairbench.planning.design import Design
from fairbench.planning.equivalence import EquivalenceRow
from fairbench.planning.inputs import Baseline, PilotRun
from fairbench.planning.rows import MIN_FACES_PER_PROMPT, TYPICAL
from fairbench.stats.power import MIN_PROMPTS


def title(analysis: Analysis) -> str:
    """Return what the analysis is of, in one line."""
    labeller = analysis.errors.space.card.name
    return f"{analysis.task}, {_count(analysis.design.prompts, 'prompt')} · labelled by {labeller}"


def summary(analysis: Analysis) -> dict[str, Any]:
    """Return the analysis for machines."""
    return {**analysis.record(), "assumptions": assumptions(analysis)}


def show(analysis: Analysis, console: Console) -> None:
    """Print the analysis."""
    _needs(analysis).show(console)
    for row in analysis.rows:
        if row.note:
            say(console, f"{spaced(row.attribute)}: {row.note}.", lead="note: ")
    console.print()
    _curves(analysis).show(console)
    if analysis.equivalence:
        console.print()
        equivalence_table(analysis.equivalence, analysis.design).show(console)
    say(console, "\nWhat this rests on", "bold")
    for sentence in assumptions(analysis):
        say(console, f"- {sentence}")
    say(console, LABEL_NOTE, "dim")


def _needs(analysis: Analysis) -> Table:
    design = analysis.design
    goal = f"To find a change of concentration by {design.detect:g} with probability {design.power:g}"
    images_head = f"images per\nprompt at\n{_count(design.prompts, 'prompt')}"
    prompts_head = f"prompts at\n{_count(design.images, 'image')}"
    change_head = f"smallest\nchange by\n{design.prompts} x {design.images}"
    heads = ["K", "run A", images_head, prompts_head, change_head]
    if design.budget is not None:
        heads.append(f"best use of\n{design.budget:,} images")
    table = Table([Column("attribute"), *numbers(*heads)], f"{goal}\n{title(analysis)}")
    for row in analysis.rows:
        needs = [whole(row.images_needed), whole(row.prompts_needed)] if row.possible else ["-", "-"]
        cells = [number(row.baseline), *needs, number(row.smallest_change)]
        if design.budget is not None:
            cells.append("none" if row.split is None else f"{row.split[0]} x {row.split[1]}: {number(row.split[2])}")
        table.add(spaced(row.attribute), str(row.classes), *cells)
    return table


def _curves(analysis: Analysis) -> Table:
    prompts = max(analysis.design.prompts, MIN_PROMPTS[analysis.design.scope])
    heading = f"Smallest change of concentration found with {_count(prompts, 'prompt')}, by images per prompt"
    table = Table([Column("attribute"), *numbers(*map(str, IMAGES))], heading)
    for curve in analysis.curves:
        table.add(spaced(curve.attribute), *map(number, curve.at(prompts)))
    return table


def equivalence_table(rows: Sequence[EquivalenceRow], design: Design) -> Table:
    """Return how often either claim is shown, of balanced models and of models like run A."""
    claims = ("equally\nconcentrated", "same\ngroups")
    heads = ["margin", *(f"{which}:\n{claim}" for which in ("balanced", "as run A") for claim in claims)]
    table = Table(
        [Column("attribute"), *numbers(*heads)],
        f"Probability that equal models are shown to be equal, with {design.prompts} x {design.images} images",
    )
    for row in rows:
        margins = " / ".join(dict.fromkeys(number(m, 2) for m in (row.claims.concentrated, row.claims.groups)))
        table.add(spaced(row.attribute), margins, *(number(p, 2) for p in (*row.balanced, *row.like_run_a)))
    return table


def assumptions(analysis: Analysis) -> list[str]:
    """Return what the numbers rest on, in sentences."""
    design = analysis.design
    return [
        _test(design),
        f"Run A: {_run_a(analysis.baseline)}. Run B: closer to balance, every prompt by the same share of its way.",
        *_classifier(analysis),
        f"Faces: {_faces(analysis)}.",
        *_equal(analysis),
        "Counts are for one run: a comparison of two needs twice as many images. The calculation agrees with "
        f"simulated tests within .03 from about {MIN_FACES_PER_PROMPT} faces per prompt on: it asks for no fewer, and "
        "the curve is rough below.",
    ]


def _test(design: Design) -> str:
    """Return which test is planned, in which scope, at which level."""
    if design.scope == "this list":
        adjusted = f", the first step of Holm's adjustment for {design.tests} tests" if design.tests > 1 else ""
        return (
            "Scope: this list. Only the images are a sample, and nothing is said of other prompts. Test: two-sided, of "
            f"the mean difference of concentration, as compare does it, at level {number(design.level, 4)}{adjusted}."
        )
    return (
        "Scope: other prompts, of which this list is taken for a random sample. The interval of the mean difference "
        f"(Gaffke's, {100 * (1 - design.alpha):g} %, not adjusted for several attributes) must exclude 0. The true "
        f"change varies over prompts with SD {design.between_prompt_sd:g} (--between-prompt-sd), beyond what run A's "
        "shares imply."
    )


def _equal(analysis: Analysis) -> list[str]:
    if not analysis.equivalence:
        return []
    return [
        "Equal: two claims that compare makes, each with the task's margin and at level "
        f"{number(analysis.design.level, 4)}. Equally concentrated: the roots of mean concentration differ by less. "
        "Same groups: a smaller share of the images would have to change group. Balanced: both models, in every prompt."
    ]


def _run_a(baseline: Baseline) -> str:
    if isinstance(baseline, PilotRun):
        return f"the shares of {baseline.folder}, read by {baseline.labeller}, without its known errors and chance"
    shape = "one group above the others, which are equal, in every prompt"
    if baseline is None:
        return f"concentration is {number(TYPICAL, 2)} (--baseline takes a number or a run); {shape}"
    return f"concentration is {baseline:g}; {shape}"


def _classifier(analysis: Analysis) -> list[str]:
    """Return whose errors the calculation uses, and for which attributes it has none."""
    calibration = analysis.errors.calibration
    calibrated, free = [], []
    for row in analysis.rows:
        if row.plan.confusion is not None:
            calibrated.append(f"{spaced(row.attribute)} {number(float(np.diag(row.plan.confusion).mean()))}")
        else:
            free.append(spaced(row.attribute))
    sentences = []
    if calibrated and calibration is not None:
        sentences.append(
            f"Classifier: errs as in its calibration on {calibration.domain} (read right, mean over groups: "
            f"{', '.join(calibrated)})."
        )
    if free:
        why = (
            "the labeller's card names no calibration" if calibration is None else "its calibration does not cover that"
        )
        sentences.append(
            f"Classifier: assumed free of errors for {', '.join(free)}, as {why}; real errors shrink the change that "
            "is read, and more images are needed."
        )
    return sentences


def _faces(analysis: Analysis) -> str:
    face_rates = {row.plan.face_rate for row in analysis.rows}
    shares = " to ".join(f"{100 * share:.1f}" for share in sorted({min(face_rates), max(face_rates)}))
    return f"one that can be labelled is found in {shares} % of images, whatever the group shown"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
