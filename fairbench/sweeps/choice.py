"""Which arm is chosen: decided on prompts of its own, before anything is judged, and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fairbench.sweeps.arms import BASE, Arm
from fairbench.sweeps.axes import BIAS, Axis
from fairbench.sweeps.result import ByRun

FILE: Final = "sweep-choice.json"
RULE: Final = (
    "the lowest mean bias on the prompts for choosing, among the arms whose other means there are worse than the "
    "model's own by less than the margin; among all, where none is"
)


def made(arms: Sequence[Arm], axes: Sequence[Axis], readings: ByRun, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the choice: `arm`, the `rule`, which arms kept the other axes, and every arm's bias there.

    axes: those that can be read on the prompts for choosing. Controls, which cost more, are not chosen.
    """
    candidates = [arm.name for arm in arms if not arm.control]
    bias = {name: _mean(readings, name, seeds, BIAS) for name in candidates}
    kept = [name for name in candidates if all(_within(readings, name, seeds, axis) for axis in axes)]
    pool = [name for name in kept or candidates if np.isfinite(bias[name])]
    chosen = min(pool, key=lambda name: bias[name]) if pool else None
    known: Mapping[str, float | None] = {name: x if np.isfinite(x) else None for name, x in bias.items()}
    return {"arm": chosen, "rule": RULE, "kept_the_others": kept, "bias": dict(known)}


def _within(readings: ByRun, arm: str, seeds: Sequence[int], axis: Axis) -> bool:
    """Whether an arm's mean is worse than the model's own by less than the margin; what is not known counts as not."""
    if axis.name == BIAS:
        return True
    own, base = (_mean(readings, name, seeds, axis.name) for name in (arm, BASE))
    if np.isnan(base):  # a model that shows one group alone has no groups to compare
        return True
    loss = base - own if axis.better == "higher" else own - base
    return bool(loss < axis.margin)


def _mean(readings: ByRun, arm: str, seeds: Sequence[int], axis: str) -> float:
    found = [readings[arm, seed].get(axis) for seed in seeds]
    return float(np.mean([np.nan if reading is None else reading.value for reading in found]))
