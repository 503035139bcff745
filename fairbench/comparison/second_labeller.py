"""Runs that two labellers read: each run of the second beside that of the first over the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairbench.comparison.sides import Side, same_images, same_labeller


def split(sides: Sequence[Side]) -> list[list[Side]] | None:
    """Return the runs by labeller, the first run's first; None where they cannot be compared in this way.

    Of two labellers with two runs or more each, the second's stand in the order of the first's over the same images,
    and have their letters.
    """
    groups: list[list[Side]] = []
    for side in sides:
        group = next((g for g in groups if same_labeller(g[0], side)), None)
        groups.append([side]) if group is None else group.append(side)
    if len(groups) == 1:
        return groups
    first, *others = groups
    matched = [next((b for b in others[0] if same_images(a, b)), None) for a in first]
    second = [side for side in matched if side is not None]
    if len(others) > 1 or not 1 < len(first) == len(second) == len(others[0]) == len(set(map(id, second))):
        return None
    letters = [side.letter for side in sides[: len(first)]]
    return [[replace(side, letter=x) for side, x in zip(g, letters, strict=True)] for g in (first, second)]
