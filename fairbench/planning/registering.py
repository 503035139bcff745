"""From a power analysis to the registration of its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fairbench.comparison import margins
from fairbench.errors import FairbenchError
from fairbench.measure.counts import cross_name, primary
from fairbench.planning import inputs
from fairbench.planning.analysis import Analysis
from fairbench.runs import registration
from fairbench.runs.registration import Arm, Registration


def arms(texts: Sequence[str], file: Path | None) -> list[Arm]:
    """Return the arms that --arm names. Raises FairbenchError now for what could not be registered in `file` later."""
    chosen = [registration.arm(text) for text in texts]
    if file is not None:
        registration.check_new(file)
        if len(chosen) < 2:
            raise FairbenchError("--register: name the runs that will be compared, the baseline first, each by --arm.")
    return chosen


def write(file: Path, task: str, arms: Sequence[Arm], analysis: Analysis) -> Registration:
    """Register a comparison of the design's sizes and return what was written. Raises FairbenchError."""
    design, space = analysis.design, analysis.errors.space
    attributes = {cross_name(names): len(space.classes(names)) for names in primary(space)}
    of_task = margins.of_task(analysis.task)
    claims = {
        f"{claim}.{name}": getattr(of_task, claim)(name, classes)
        for claim in ("concentration", "groups")
        for name, classes in attributes.items()
    }
    made = registration.register(
        inputs.prompts_of(task, design.prompts),
        task=analysis.task,
        arms=list(arms),
        attributes=list(attributes),
        margins={**of_task.values, **claims},
        scope=design.scope,
        images_per_prompt=design.images,
        alpha=design.alpha,
        labeller=space.card.name,
    )
    registration.write(made, file)
    return made
