"""Tables of known truth: P(attributes | subject) of a model whose truth was planted (ModelCard.truth)."""

from __future__ import annotations

import functools
import importlib.resources
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairbench.cards.csvfile import Columns, number, read_csv
from fairbench.errors import CardError

OTHER = "*"
"""The row that stands for every subject that no other row stands for."""
PACKAGE = "package:"


def locate(file: str, base_dir: Path | None) -> Path:
    """Return the path that a card's `file` means: package:PACKAGE/PATH, else relative to the card. Raises CardError."""
    if not file.startswith(PACKAGE):
        return (base_dir or Path.cwd()) / Path(file).expanduser()
    package, _, inside = file.removeprefix(PACKAGE).partition("/")
    try:
        return Path(str(importlib.resources.files(package).joinpath(inside)))
    except (ImportError, TypeError, ValueError) as err:
        raise CardError(f"{file}: there is no Python package {package!r}; write package:PACKAGE/PATH.") from err


def columns(labels: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the names of the joint cells' columns, the last attribute's labels running fastest.

    >>> columns([("female", "male"), ("Black", "Asian")])
    ('female_Black', 'female_Asian', 'male_Black', 'male_Asian')
    """
    return tuple("_".join(cell) for cell in itertools.product(*labels))


def read(path: Path, cells: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return subject -> probabilities, shape (cells,), of the columns `cells`; other columns are ignored.

    Rows must sum to 1 within 0.001 (tables are rounded) and are then scaled to sum to 1. Raises CardError.
    """
    rows: dict[str, NDArray[np.float64]] = {}
    for line, row in read_csv(path, Columns(("subject",), cells, others="allow")):
        subject = row["subject"]
        absent = next((c for c in cells if c not in row), None)
        if absent is not None:
            raise CardError(
                f"{path}, line 1, field {absent}: there is no such column; name the columns by the labeller's labels, "
                f"joined with _ in the order of the card's attributes ({cells[0]} ... {cells[-1]})."
            )
        if not subject or subject in rows:
            problem = f"{subject!r} stands in an earlier line already" if subject else "it is empty"
            raise CardError(f"{path}, line {line}, field subject: {problem}; give every subject one row.")
        shares = np.array([number(row[c]) for c in cells])
        for column, share in zip(cells, shares, strict=True):
            if not 0 <= share <= 1:
                where = f"{path}, line {line}, field {column}"
                raise CardError(f"{where}: {row[column]!r} is no probability; give a number from 0 to 1.")
        if abs(shares.sum() - 1) > 1e-3:
            raise CardError(
                f"{path}, line {line}, fields {cells[0]} to {cells[-1]}: the probabilities of {subject!r} sum to "
                f"{shares.sum():.4f}; make them sum to 1."
            )
        rows[subject] = shares / shares.sum()
    if not rows:
        raise CardError(f"{path} holds no rows: add one for each subject, or one for {OTHER!r}.")
    return rows


def row_of(subject: str, rows: Iterable[str]) -> str | None:
    """Return which of the table's subjects stands for `subject`; None where none does and there is no row `*`.

    The longest that `subject` holds as whole words, upper or lower case, else `*`.

    >>> row_of("yoga teacher", ["teacher", "teach", "*"]), row_of("nurse", ["teacher", "*"]), row_of("nurse", [])
    ('teacher', '*', None)
    """
    names, words = set(rows), spaced(subject)
    contained = [name for name in names - {OTHER} if spaced(name) in words]
    return max(contained, key=lambda name: (len(name), name), default=OTHER if OTHER in names else None)


@functools.lru_cache(maxsize=4096)
def spaced(text: str) -> str:
    """Return the words in lower case with one space around each, so that containment means whole words."""
    words = re.findall(r"\w+", text.lower())
    return f" {' '.join(words)} "
