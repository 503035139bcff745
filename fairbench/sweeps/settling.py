"""What an axis is read of, the same in all runs: else arms would differ by what could be read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairbench.sweeps.arms import BASE
from fairbench.sweeps.axes import BEHIND, BIAS, ESTIMATES, Reading, Readings, finite, missing, variant
from fairbench.sweeps.result import ByRun

ReadOf = dict[str, list[str]]
"""Axis -> what of it was read in every run: an estimate of the bias, or the classes of a score's groups."""


def settled(readings: ByRun) -> tuple[dict[tuple[str, int], Readings], ReadOf]:
    """Return the readings with every axis read alike in all runs, and what it was read of.

    The bias is of the adjusted concentration where every run has a value of it, else of the counted one. Which group
    lies furthest behind is asked of the classes that every training shows often enough; the model itself, which may
    show one group alone, takes no class away from the trainings.
    """
    trained = [of for (arm, _), of in readings.items() if arm != BASE]
    known = [e for e in ESTIMATES if all(finite(of[variant(BIAS, e)].value) for of in readings.values())]
    read_of = {BIAS: (known or list(ESTIMATES[-1:]))[:1]}
    for axis in (name for name in trained[0] if name.endswith(BEHIND)):
        classes = [name for name in trained[0] if name.startswith(f"{axis}[") and all(name in of for of in trained)]
        read_of[axis] = [name.removeprefix(f"{axis}[").removesuffix("]") for name in classes]
    return {
        run: {**of, **{axis: _largest(of, axis, parts) for axis, parts in read_of.items()}}
        for run, of in readings.items()
    }, read_of


def _largest(readings: Mapping[str, Reading], axis: str, parts: Sequence[str]) -> Reading:
    if not parts:
        return readings[axis]
    found = [reading for part in parts if (reading := readings.get(variant(axis, part)))]
    if len(found) < len(parts):
        return missing("it shows too few images of a perceived group that all trainings show")
    return max(found, key=lambda reading: reading.value)
