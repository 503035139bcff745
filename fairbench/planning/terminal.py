"""What a plan prints: the numbers of images and prompts, a curve, and in plain sentences what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console

from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, whole
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers
from fairbench.planning.curve import IMAGES, Curve
from fairbench.planning.rows import FEWEST_FACES, TYPICAL, Asked, Known, Pilot, Row


@dataclass(frozen=True, slots=True)
class Planned:
    """A finished plan. baseline: run A's RD, a run that stands for it, or None for the default."""

    task: str
    known: Known
    asked: Asked
    baseline: float | Pilot | None
    rows: Sequence[Row]
    curves: Sequence[Curve]

    @property
    def title(self) -> str:
        """What the plan is for, in one line."""
        return f"{self.task}, {_count(self.asked.prompts, 'prompt')} · labelled by {self.known.space.card.name}"


def summary(found: Planned) -> dict[str, Any]:
    """Return the plan for machines."""
    return {
        "task": found.task,
        "labeller": found.known.space.card.name,
        "note": LABEL_NOTE,
        **asdict(found.asked),
        "attributes": [row.record() for row in found.rows],
        "curves": [
            {
                "attribute": curve.attribute,
                "images_per_prompt": list(IMAGES),
                "smallest_change": {str(prompts): curve.at(prompts) for prompts in curve.prompts},
            }
            for curve in found.curves
        ],
        "assumptions": assumptions(found),
    }


def show(found: Planned, console: Console) -> None:
    """Print the plan."""
    _needs(found).show(console)
    for row in found.rows:
        if row.note:
            say(console, f"note: {_name(row.attribute)}: {row.note}.", "yellow")
    console.print()
    _curves(found).show(console)
    say(console, "\nWhat this rests on", "bold")
    for sentence in assumptions(found):
        say(console, f"- {sentence}")
    say(console, LABEL_NOTE, "dim")


def _needs(found: Planned) -> Table:
    asked = found.asked
    title = f"To find a change of RD by {asked.detect:g} with probability {asked.power:g}\n{found.title}"
    heads = [
        "K", "run A's\nRD", f"images per\nprompt at\n{_count(asked.prompts, 'prompt')}",
        f"prompts at\n{_count(asked.images, 'image')}", f"smallest\nchange by\n{asked.prompts} x {asked.images}",
    ]  # fmt: skip
    if asked.budget is not None:
        heads.append(f"best use of\n{asked.budget:,} images")
    table = Table([Column("attribute"), *numbers(*heads)], title)
    for row in found.rows:
        needs = [whole(row.needed_images), whole(row.needed_prompts)] if row.possible else ["-", "-"]
        cells = [number(row.baseline_rd), *needs, number(row.smallest)]
        if asked.budget is not None:
            cells.append("none" if row.split is None else f"{row.split[0]} x {row.split[1]}: {number(row.split[2])}")
        table.add(_name(row.attribute), str(row.classes), *cells)
    return table


def _curves(found: Planned) -> Table:
    title = f"Smallest change of RD found with {_count(found.asked.prompts, 'prompt')}, by images per prompt"
    table = Table([Column("attribute"), *numbers(*map(str, IMAGES))], title)
    for curve in found.curves:
        table.add(_name(curve.attribute), *map(number, curve.at(found.asked.prompts)))
    return table


def assumptions(found: Planned) -> list[str]:
    """Return what the numbers rest on, a sentence each."""
    asked = found.asked
    value = (
        "RD at equal face counts" if asked.estimand == "rd" else "concentration, (K sum p^2 - 1) / (K - 1) without bias"
    )
    return [
        f"Test: two-sided paired test of the mean {value}, at level {asked.alpha:g} for one attribute (several judged "
        f"together need a smaller --alpha); the change is found with probability {asked.power:g}.",
        _scope(asked),
        f"Run A: {_run_a(found.baseline)}. Run B: closer to balance, every prompt by the same share of its way.",
        *_classifier(found),
        f"Faces: {_faces(found)}.",
        "Counts are for one run: a comparison of two needs twice as many images. The reckoning agrees with simulated "
        f"tests from about {FEWEST_FACES} faces a prompt on: it asks for no fewer, and the curve is rough below.",
    ]


def _scope(asked: Asked) -> str:
    if asked.scope == "these prompts":
        return "Scope: these prompts. Only the images are a sample, and nothing is said of other prompts."
    return (
        f"Scope: prompts like these. The prompts are a sample too; the true change varies over them with SD "
        f"{asked.between_prompt_sd:g} (--between-prompt-sd), beyond what run A's shares imply."
    )


def _run_a(baseline: float | Pilot | None) -> str:
    if isinstance(baseline, Pilot):
        return f"the shares in {baseline.path}, chance included: RD of few faces comes out too large"
    shape = "one group above the others, which are equal, in every prompt"
    if baseline is None:
        return f"RD is {TYPICAL:g} of its maximum 2/K (--baseline takes a number or a run); {shape}"
    return f"RD is {baseline:g}; {shape}"


def _classifier(found: Planned) -> list[str]:
    """Return whose errors were reckoned with, and for which attributes none are known."""
    known = {r.attribute: r.plan.confusion for r in found.rows if r.plan is not None}
    right = [f"{_name(a)} {number(float(np.diag(table).mean()))}" for a, table in known.items() if table is not None]
    free = [_name(a) for a, table in known.items() if table is None]
    sentences = []
    if right and found.known.calibration is not None:
        sentences.append(
            f"Classifier: errs as in its calibration on {found.known.calibration.domain} (read right, mean over "
            f"groups: {', '.join(right)})."
        )
    if free:
        why = "the labeller's card names no calibration"
        if found.known.calibration is not None:
            why = "its calibration does not cover that"
        sentences.append(
            f"Classifier: assumed free of errors for {', '.join(free)}, as {why}; real errors shrink the change that "
            "is read, and more images are needed."
        )
    return sentences


def _faces(found: Planned) -> str:
    rates = {row.plan.face_rate for row in found.rows if row.plan is not None}
    shown = " to ".join(f"{100 * rate:.1f}" for rate in sorted({min(rates), max(rates)}))
    return f"one that can be labelled is found in {shown} % of images, whatever the group shown"


def _name(attribute: str) -> str:
    return attribute.replace("_x_", " x ")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
