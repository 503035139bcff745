"""How many steps each arm's trainings take. Worked out once and kept: a sweep that was stopped goes on alike."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.sweeps import costs, pilot
from fairbench.sweeps.arms import Arm
from fairbench.sweeps.design import Design, once

FILE: Final = "sweep-plan.json"
Plan = dict[str, Any]


def steps_of(plan: Plan, arm: Arm) -> int:
    """Return how many steps the trainings of an arm take."""
    return int(plan["arms"][arm.name]["steps"])


def made(design: Design, image_tokens: int, progress: Progress) -> Plan:
    """Return the plan: the one in the folder, or a new one, for which a budget of seconds is measured by pilots.

    `arms`: name -> steps, what they cost (`costs.Cost`), and for a budget of seconds those that are planned: in all,
    of the balanced set (`data`), of the set-up and of a step. Raises FairbenchError where a budget is too small.
    """
    return once(design.out / FILE, lambda: _new(design, image_tokens, progress))


def _new(design: Design, image_tokens: int, progress: Progress) -> Plan:
    seconds = _measured(design, progress) if design.budget.unit == "seconds" else {}
    steps: dict[Arm, int] = {}
    for arm in design.arms:  # controls come last
        steps[arm] = _steps(design, arm, image_tokens, seconds, steps)
    arms = {}
    for arm, count in steps.items():
        arms[arm.name] = {"steps": count, **asdict(costs.of_training(design, arm, count, image_tokens))}
        if priced := seconds.get(arm):
            planned = priced["data"] + priced["setup"] + count * priced["step"]
            arms[arm.name]["seconds"] = {"planned": round(planned, 1), **priced}
    return {"budget": str(design.budget), "image_tokens": image_tokens, "arms": arms}


def _steps(
    design: Design, arm: Arm, image_tokens: int, seconds: dict[Arm, dict[str, float]], before: dict[Arm, int]
) -> int:
    unit, amount = design.budget.unit, design.budget.amount
    trained, debiasing = costs.per_step(design, arm, image_tokens)
    if arm.control:  # as many tokens of debiasing data as without any capability data
        plain = Arm(arm.trainer)
        return max(1, round(before[plain] * costs.per_step(design, plain, image_tokens)[1] / debiasing))
    if unit == "steps":
        return int(amount)
    needs, per_step = (0.0, trained) if unit == "tokens" else _fixed(seconds[arm])
    steps = math.floor((amount - needs) / per_step)
    if steps < 1:
        spent = "" if unit == "tokens" else f" after {needs:.0f} seconds for its set, its images and its set-up"
        raise FairbenchError(
            f"--budget {design.budget} leaves no step to {arm.name}, of which one takes {per_step:.3g} {unit}{spent}: "
            "raise the budget, or leave the arm out."
        )
    return steps


def _fixed(seconds: dict[str, float]) -> tuple[float, float]:
    return seconds["data"] + seconds["setup"], seconds["step"]


def _pilot(design: Design, arm: Arm) -> Path:
    return design.out / pilot.FOLDER / f"{Arm(arm.trainer, arm.retain).name}.json"


def _measured(design: Design, progress: Progress) -> dict[Arm, dict[str, float]]:
    """Return the seconds of every arm's set, set-up and step; a control's are those of the arm that it controls."""
    data = design.data_seconds
    if data is None and (images := costs.synthesised(design.set.provenance)):
        one = once(design.out / pilot.FOLDER / "image.json", lambda: {"seconds": pilot.of_image(design, progress)})
        data = images * float(one["seconds"])
    seconds = {}
    if any(not _pilot(design, arm).exists() for arm in design.arms):
        pilot.warm_up(design, progress)
    for arm in design.arms:
        plain = Arm(arm.trainer, arm.retain)
        timed = once(_pilot(design, arm), lambda plain=plain: pilot.of_arm(design, plain, progress))  # type: ignore[misc]
        own = round(data or 0.0, 3) if costs.uses_images(arm) else 0.0
        seconds[arm] = {"data": own, **{name: float(value) for name, value in timed.items()}}
    return seconds
