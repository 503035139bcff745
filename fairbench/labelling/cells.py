"""The cells of a confusion table: combinations of labels, and what is wrong with a list of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Cell = tuple[str, ...]
"""One label per attribute, in the order of the attributes; or NO_PERSON (a row), or NO_FACE (a column)."""
NO_PERSON: Final[Cell] = ("no person",)
NO_FACE: Final[Cell] = ("no face",)


def labels_of(attributes: Sequence[str], cells: Sequence[Cell]) -> dict[str, tuple[str, ...]]:
    """Return the labels of every attribute, in the order in which they first stand in the cells."""
    return {a: tuple(dict.fromkeys(cell[i] for cell in cells)) for i, a in enumerate(attributes)}


def problem(attributes: Sequence[str], rows: Sequence[Cell], columns: Sequence[Cell]) -> str | None:
    """Return "FIELD: what is wrong and how to fix it" of a table's rows and columns, or None."""
    if not attributes or len(set(attributes)) != len(attributes):
        return "attributes: name at least one, each once"
    for name, cells in (("rows", rows), ("columns", columns)):
        duplicate = next((list(c) for i, c in enumerate(cells) if c in cells[:i]), None)
        if duplicate:
            return f"{name}: {duplicate} stands twice; add its counts up in one"
    if columns[-1:] != (NO_FACE,):
        return f"columns: the last one must be {list(NO_FACE)}"
    people = tuple(columns[:-1])
    for cell in people:
        if len(cell) != len(attributes) or cell in (NO_PERSON, NO_FACE):
            return f"columns: {list(cell)} must hold one label for each of {', '.join(attributes)}"
    labels = labels_of(attributes, people)
    if people != tuple(itertools.product(*labels.values())):
        return f"columns: list all combinations of {labels}, the last attribute changing fastest"
    true_cells = tuple(rows[:-1] if rows[-1:] == (NO_PERSON,) else rows)
    unknown = next((list(cell) for cell in true_cells if cell not in people), None)
    if unknown:
        return f"rows: {unknown} is not among the columns; fix its labels"
    if true_cells != people:
        return f"rows: list the columns' combinations in their order, then {list(NO_PERSON)} or nothing"
    return None


def number_problem(
    counts: NDArray[Any], rows: Sequence[Cell], columns: Sequence[Cell], check: Mapping[str, float]
) -> str | None:
    """Return "FIELD: what is wrong and how to fix it" of a table's numbers, or None. check: further numbers."""
    if counts.shape != (len(rows), len(columns)):
        return f"counts: its shape is {counts.shape}, that of rows and columns {(len(rows), len(columns))}"
    if not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        return "counts: give whole numbers of at least 0"
    infinite = next((name for name, value in check.items() if not math.isfinite(value)), None)
    return f"independent_check.{infinite}: give a finite number, or leave it out" if infinite is not None else None
