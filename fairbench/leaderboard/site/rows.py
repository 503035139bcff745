"""A row of a leaderboard for its page: what its check found, and the verdict that its evidence gives."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import pyarrow as pa

from fairbench.display.labels import spaced
from fairbench.display.note import label_note
from fairbench.display.plain import line
from fairbench.leaderboard import board
from fairbench.leaderboard.columns import RANKS, Row
from fairbench.leaderboard.row import RUN_ID
from fairbench.leaderboard.site.words import BADGES, Badge
from fairbench.leaderboard.verify import Check, verify_and_look
from fairbench.notices import Notice
from fairbench.runs import headline, verdict
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.folder import RunFolder
from fairbench.runs.record import RunRecord
from fairbench.runs.terminal_tables import Measured

SUBMIT: Final = "submit"
"""The folder of the page that is no leaderboard's."""
_FOLDER: Final = re.compile(r"[^a-z0-9]+")


class _FromEvidence(RunFolder):
    """A run of which only the evidence is there, which was read before: its table is computed."""

    def __init__(self, run: FinishedRun) -> None:
        super().__init__(run.folder)
        self._run = run

    @cached_property
    def record(self) -> RunRecord:
        return self._run.record

    @cached_property
    def metrics_table(self) -> pa.Table:
        return self._run.metrics_of_task


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the evidence of a row says. rd: attribute -> 95 % interval of it, which no column states."""

    verdicts: tuple[dict[str, str], ...]
    notices: tuple[str, ...]
    note: str
    facts: tuple[tuple[str, str], ...]
    rd: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row with its page. row: cells as they are shown, on one line; check: None of what names no run."""

    row: Row
    folder: str
    check: Check | None
    evidence: Evidence | None

    @property
    def name(self) -> str:
        """Model and method."""
        return self.row["model"] + ("" if self.row["method"] in ("", "none") else f" + {self.row['method']}")

    @property
    def badge(self) -> Badge:
        """What the check found; of a published row, that there was none."""
        return BADGES["published" if self.check is None else self.check.verdict]

    @property
    def missing(self) -> dict[str, list[str]]:
        """Reason -> the columns that have no value, or leave prompts out, for it."""
        columns: dict[str, list[str]] = {}
        for part in self.row["missing"].split("; ") if self.row["missing"] else []:
            column, _, reason = part.partition(": ")
            columns.setdefault(reason, []).append(column)
        return columns

    @property
    def details(self) -> list[str]:
        """What the check says beyond its verdict."""
        if self.check is None:
            return []
        said = [] if self.check.reason is None else [line(self.check.reason)]
        said += [
            f"{d.column}: {line(d.stated)!r} here, {d.recomputed!r} by its evidence" for d in self.check.differences
        ]
        if self.check.not_checked:
            said.append(f"Not in the evidence, so not checked: {', '.join(self.check.not_checked)}.")
        if self.check.earlier:
            said.append("Written by an earlier version: what is computed otherwise since was not compared.")
        return said


@dataclass(frozen=True, slots=True)
class Board:
    """A leaderboard. file: its name; folder: that of its pages; entries: in the order of the file.

    measured: groups that compare, in each the places by rank, in each the entries of one label table by calibration.
    """

    file: str
    folder: str
    entries: tuple[Entry, ...]
    measured: list[list[list[Entry]]]

    @property
    def name(self) -> str:
        """What the file is called, without its ending."""
        return self.file.removesuffix(".csv")

    @property
    def published(self) -> list[Entry]:
        """The entries that were copied from papers."""
        return [e for e in self.entries if e.row["source"] != "measured"]


def _key(row: Row) -> tuple[str, ...]:
    return tuple(text for column, text in row.items() if column not in RANKS)


def read(path: Path, folder: str) -> Board:
    """Read and verify a leaderboard. Raises CardError where it is none."""
    rows = board.read(path)
    here = f"{path.resolve().parent}{os.sep}"  # the machine that builds the pages is nobody's business
    checked = {check.line: (check, found) for check, found in verify_and_look(path, _evidence)}
    ranked = {_key(r): r for r in [*(r for group in board.groups(rows) for r in group), *board.published(rows)]}
    entries: list[Entry] = []
    for number_of_line, row in enumerate(rows, 2):
        check, found = checked.get(number_of_line, (None, None))
        if check is not None and check.reason is not None:
            check = replace(check, reason=check.reason.replace(here, ""))
        has_run = check is not None and check.verdict != "damaged" and RUN_ID.fullmatch(row["run_id"]) is not None
        name = row["run_id"][:12] if has_run else f"row-{number_of_line}"
        if any(e.folder == name for e in entries):
            name = f"row-{number_of_line}"
        shown = {column: line(text) for column, text in ranked[_key(row)].items()}
        entries.append(Entry(shown, name, check, found))
    entry_of = {_key(e.row): e for e in entries}
    standings = board.standings([e.row for e in entries])
    measured = [[[entry_of[_key(r)] for r in place.rows] for place in group] for group in standings]
    return Board(line(path.name), folder, tuple(entries), measured)


def folders(paths: Sequence[Path]) -> list[str]:
    """Return a name of a folder for the pages of each file, all different."""
    names = [SUBMIT]
    for path in paths:
        stem = _FOLDER.sub("-", path.stem.lower()).strip("-") or "board"
        numbered = (f"{stem}-{n}" for n in itertools.count(2))
        names.append(next(name for name in itertools.chain([stem], numbered) if name not in names))
    return names[1:]


def _evidence(run: FinishedRun) -> Evidence:
    """Return what the evidence of a run says for its page."""
    measured, record = Measured(_FromEvidence(run)), run.record
    notices = (Notice(n.code, n.text, n.count, tuple(n.examples)) for n in record.notices)
    facts = {
        "key of the images": record.keys.images,
        "key of the faces": record.keys.faces,
        "key of the labels": record.keys.labels,
        "licence of the labeller": record.labeller.licence,
        "metrics": ", ".join(f"{name} {version}" for name, version in record.declared.metrics.items()),
    }
    rd = {a: measured.find("rd", "raw", a) for a in measured.attributes}
    return Evidence(
        tuple(
            {"attribute": spaced(h.attribute), "sentence": line(verdict.sentence(h))} for h in headline.of_run(measured)
        ),
        tuple(line(notice.sentence) for notice in notices),
        label_note(*measured.run.seen_by),
        tuple((name, line(text)) for name, text in facts.items() if text),
        {a: (r["ci_low"], r["ci_high"]) for a, r in rd.items() if r is not None and r["ci_low"] is not None},
    )


def value(row: Row, column: str) -> float | None:
    """Return a number of a row; None where the cell is empty."""
    found = float(row[column]) if row[column] else None
    return found if found is None or math.isfinite(found) else None
