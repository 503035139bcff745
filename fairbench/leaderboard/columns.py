"""The columns of a leaderboard, and the steps in which they became what they are today.

An earlier file is read under today's names, with empty cells in the columns that it lacks. A row that states none of
the columns that a step added was written before that step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from fairbench.storage.renamed import RENAMED

Row = dict[str, str]


class Source(NamedTuple):
    """Where a column comes from: the task's row of this metric and estimate in the metrics table, and the field."""

    metric: str
    estimate: str
    field: str


ATTRIBUTES: Final = ("gender", "race4", "race7", "gender_x_race4")
MEASURES: Final[dict[str, Source]] = {
    "rd": Source("rd", "raw", "value"),
    "rd.floor": Source("rd", "raw", "floor"),
    "rd.ceiling": Source("rd", "raw", "ceiling"),
    "rd@n0": Source("rd", "rarefied", "value"),
    "concentration": Source("concentration", "raw", "value"),
    "concentration.error": Source("concentration", "raw", "error"),
    "concentration.low": Source("concentration", "raw", "ci_low"),
    "concentration.high": Source("concentration", "raw", "ci_high"),
    "concentration.floor": Source("concentration", "raw", "floor"),
    "concentration.ceiling": Source("concentration", "raw", "ceiling"),
    "concentration.prompts": Source("concentration", "raw", "n_prompts"),
    "concentration-corrected": Source("concentration", "corrected", "value"),
    "concentration-corrected.low": Source("concentration", "corrected", "ci_low"),
    "concentration-corrected.high": Source("concentration", "corrected", "ci_high"),
    "concentration-lowest": Source("concentration", "corrected-lowest", "value"),
    "concentration-lowest.low": Source("concentration", "corrected-lowest", "ci_low"),
    "concentration-highest": Source("concentration", "corrected-highest", "value"),
    "concentration-highest.high": Source("concentration", "corrected-highest", "ci_high"),
    "rd-normalised": Source("rd-normalised", "raw", "value"),
    "entropy": Source("entropy", "raw", "value"),
    "majority-share": Source("majority-share", "raw", "value"),
    "id": Source("id", "raw", "value"),
    "id.floor": Source("id", "raw", "floor"),
    "ca-0.1": Source("ca-0.1", "raw", "value"),
    "ca-0.1.low": Source("ca-0.1", "raw", "ci_low"),
    "ca-0.1.high": Source("ca-0.1", "raw", "ci_high"),
    "ca-0.1.floor": Source("ca-0.1", "raw", "floor"),
    "ca-mean": Source("ca-mean", "raw", "value"),
    "ca-mean.floor": Source("ca-mean", "raw", "floor"),
    "mgbi": Source("mgbi", "raw", "value"),
    "mgbi.low": Source("mgbi", "raw", "ci_low"),
    "mgbi.high": Source("mgbi", "raw", "ci_high"),
    "mgbi.floor": Source("mgbi", "raw", "floor"),
    "n": Source("rd", "raw", "n_faces"),
}
"""Column behind `<attribute>.` -> its source. concentration.error: its standard error, images drawn again.

concentration-lowest and -highest: the ends of the range where the calibration is of other images than the run's.
"""
SCORES: Final = ("clip_score", "clip_iqa", "inception_score")
RANKS: Final = ("rank", "rank.low", "rank.high")
_SIMPLE: Final = ("no-face-rate", *SCORES)
VALUES: Final = (
    *(f"{attribute}.{measure}" for attribute in ATTRIBUTES for measure in MEASURES),
    *(column for name in _SIMPLE for column in (name, f"{name}.n")),
)
"""Columns of measured numbers."""
_RUN: Final = """
source model revision licence verified way_in method quota task task_version suite labeller labeller_id
calibration_sha calibration_domain images_per_prompt prompts n_requested n_images n_faces n0
"""
_ORIGIN: Final = "notices missing run_id labels_sha256 fairbench date published_in note"
COLUMNS: Final[tuple[str, ...]] = (*RANKS, *_RUN.split(), *VALUES, *_ORIGIN.split())


class Step(NamedTuple):
    """What a version changed. renamed: words of columns, earlier -> today's.

    added, changed: measures of each attribute, and other columns, that it added, and that are computed otherwise since.
    """

    renamed: Mapping[str, str] = {}
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def new_columns(self) -> frozenset[str]:
        """The columns that it added."""
        return _columns(self.added)

    @property
    def not_comparable(self) -> frozenset[str]:
        """The columns in which a row from before it differs from one of today."""
        return self.new_columns | _columns(self.changed)

    def is_after(self, row: Row) -> bool:
        """Whether a row was written before this step: it states nothing that the step added."""
        return bool(self.added) and not any(row[column] for column in self.new_columns)


def _columns(names: tuple[str, ...]) -> frozenset[str]:
    """Return the columns of these measures, and those that are called so."""
    measures = {f"{attribute}.{measure}" for attribute in ATTRIBUTES for measure in names}
    return frozenset({*measures, *names} & {*COLUMNS})


STEPS: Final = (
    Step(renamed=RENAMED),  # 0.1.0 said sq
    Step(
        added=(
            *("concentration.floor", "concentration.ceiling", "concentration.prompts", "concentration-lowest"),
            *("concentration-lowest.low", "concentration-highest", "concentration-highest.high"),
        ),
        changed=(
            *("rd.floor", "rd.ceiling", "rd@n0", "concentration.error", "concentration.low", "concentration.high"),
            *("concentration-corrected", "concentration-corrected.low", "concentration-corrected.high"),
            *("n0", "missing", *RANKS),
        ),
    ),
    Step(added=("licence", "verified", "way_in", "notices")),
    Step(
        added=(
            *("id", "id.floor", "ca-0.1", "ca-0.1.low", "ca-0.1.high", "ca-0.1.floor", "ca-mean", "ca-mean.floor"),
            *("mgbi", "mgbi.low", "mgbi.high", "mgbi.floor"),
        )
    ),
)
"""From the earliest version on; each begins with the columns that the one before it made."""


def upgraded(header: tuple[str, ...], rows: list[Row]) -> list[Row] | None:
    """Return the rows of a leaderboard under today's columns; None where no version wrote this header."""
    for first, earlier in enumerate(_headers()):
        if header == earlier:
            return [_upgraded(row, STEPS[first:]) for row in rows]
    return None


def _headers() -> Iterator[tuple[str, ...]]:
    """Yield the columns of every version, from the earliest to today's."""
    headers = [COLUMNS]
    for step in reversed(STEPS):
        kept = (column for column in headers[0] if column not in step.new_columns)
        headers.insert(0, tuple(_renamed(column, {now: then for then, now in step.renamed.items()}) for column in kept))
    yield from headers


def _upgraded(row: Row, steps: tuple[Step, ...]) -> Row:
    for step in steps:
        parts = (part.partition(": ") for part in row["missing"].split("; "))  # COLUMN: reason; ...
        missing = "; ".join(_renamed(column, step.renamed) + colon + reason for column, colon, reason in parts)
        row = {**{_renamed(column, step.renamed): text for column, text in row.items()}, "missing": missing}
    return {column: row.get(column, "") for column in COLUMNS}


def _renamed(column: str, names: Mapping[str, str]) -> str:
    return re.sub(rf"\b({'|'.join(names)})\b", lambda match: names[match[0]], column) if names else column
