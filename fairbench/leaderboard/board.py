"""A leaderboard: one CSV per task version, a row per run, in a fixed column order. Published numbers stand apart.

Only headline numbers have columns; every number of a run is in its metrics.parquet. A row is known by its run_id;
row.py computes it, and the run's evidence beside the CSV lets anybody compute it again.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist
from typing import Final, NamedTuple

from fairbench.cards.csvfile import number
from fairbench.cards.textfile import read_text
from fairbench.errors import CardError, StoreError, storage_errors
from fairbench.storage import atomic
from fairbench.storage.renamed import current


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
    "concentration-corrected": Source("concentration", "corrected", "value"),
    "concentration-corrected.low": Source("concentration", "corrected", "ci_low"),
    "concentration-corrected.high": Source("concentration", "corrected", "ci_high"),
    "rd-normalised": Source("rd-normalised", "raw", "value"),
    "entropy": Source("entropy", "raw", "value"),
    "majority-share": Source("majority-share", "raw", "value"),
    "n": Source("rd", "raw", "n_faces"),
}
"""Column behind `<attribute>.` -> its source. concentration.error: its standard error, images drawn again."""
SCORES: Final = ("clip_score", "clip_iqa", "inception_score")
RANKS: Final = ("rank", "rank.low", "rank.high")
_SIMPLE: Final = ("no-face-rate", *SCORES)
VALUES: Final = (
    *(f"{attribute}.{measure}" for attribute in ATTRIBUTES for measure in MEASURES),
    *(column for name in _SIMPLE for column in (name, f"{name}.n")),
)
"""Columns of measured numbers."""
_RUN: Final = """
source model revision method quota task task_version suite labeller labeller_id calibration_sha calibration_domain
images_per_prompt prompts n_requested n_images n_faces n0
"""
_ORIGIN: Final = "missing run_id labels_sha256 fairbench date published_in note"
COLUMNS: Final[tuple[str, ...]] = (*RANKS, *_RUN.split(), *VALUES, *_ORIGIN.split())
RANKED_BY: Final = "gender_x_race4.concentration"
_ERROR: Final = f"{RANKED_BY}.error"
_COMPARABLE: Final = ("task", "suite", "labeller_id", "images_per_prompt", "prompts")
SOURCES: Final = ("measured", "published")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What no CSV file in UTF-8 gives back as it was."""
_LEVEL: Final = 0.95
Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Return the rows of a leaderboard; one of 0.1.0 is read under today's names of columns. Raises CardError."""
    if not path.exists():
        raise CardError(
            f"There is no leaderboard {path} here: name its CSV, or make it with fairbench leaderboard add RUN "
            f"--leaderboard {path}."
        )
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        reader.fieldnames = [current(name) for name in reader.fieldnames or ()]
        columns, rows = tuple(reader.fieldnames), list(reader)
    except csv.Error as err:
        raise CardError(f"{path} cannot be read as a CSV file ({err}).") from err
    if columns != COLUMNS:
        fix = "name another file"
        raise CardError(f"{path}, line 1: the columns are not those of a leaderboard of this version; {fix}.")
    ragged = next((line for line, row in enumerate(rows, 2) if None in row or None in row.values()), None)
    if ragged is not None:
        raise CardError(f"{path}, line {ragged}: the row has another number of fields than line 1; fix it.")
    for line, row in enumerate(rows, 2):
        problem = _problem(row)
        if problem is not None:
            raise CardError(f"{path}, line {line}, field {problem}; fix it.")
    return [{**r, "missing": _current_reasons(r["missing"])} for r in rows]


def _current_reasons(missing: str) -> str:
    """Return "COLUMN: reason; ..." with today's names of columns."""
    parts = (part.partition(": ") for part in missing.split("; "))
    return "; ".join(current(column) + colon + reason for column, colon, reason in parts)


def _problem(row: Row) -> str | None:
    """Return "FIELD: what is wrong" of a row that cannot be in a leaderboard, or None."""
    if row["source"] not in SOURCES:
        return f"source: {row['source']!r} is neither {' nor '.join(SOURCES)}"
    for column, text in row.items():
        if column in VALUES and text and not math.isfinite(number(text)):
            return f"{column}: {text!r} is no finite number"
    return next((f"{c}: {text!r} holds a control character" for c, text in row.items() if _CONTROL.search(text)), None)


def add(path: Path, new: Row, before: Callable[[], None] | None = None) -> None:
    """Add a row, or replace the row of the same run; safe with other writers. Raises StoreError, CardError.

    before: called once the file has been read and before it is written: what the row rests on comes first.
    """
    problem = _problem(new)
    if problem is not None:
        raise CardError(f"The row of run {new['run_id']} cannot be added to {path}, field {problem}.")
    with _locked(path.resolve()) as target:
        rows = read(target) if target.exists() else []
        if before is not None:
            before()
        others = [r for r in rows if not (r["run_id"] and r["run_id"] == new["run_id"])]
        atomic.write_text(target, render([*others, new]))


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    from filelock import FileLock, Timeout

    lock = path.with_name(f".{path.name}.lock")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(lock).acquire(timeout=60)
        except Timeout as err:
            fix = "wait for it, then run the same command again"
            raise StoreError(f"{lock} is held by another process: {fix}.") from err
        with held:
            yield path


def render(rows: Sequence[Row]) -> str:
    """Return the CSV text: measured rows by rank, then published ones, which are never ranked."""
    ordered = [*itertools.chain(*groups(rows)), *published(rows)]
    return atomic.csv_text([COLUMNS, *([row[column] for column in COLUMNS] for row in ordered)])


def published(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that were copied from papers: without a rank, whatever the file says."""
    return [{**r, **dict.fromkeys(RANKS, "")} for r in rows if r["source"] != "measured"]


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the measured rows by what they can be compared with, and by rank within that."""
    measured = [r for r in rows if r["source"] == "measured"]
    ranked = [{**r, **ranks} for r, ranks in zip(measured, rank(measured), strict=True)]
    ranked.sort(key=lambda r: (_group(r), _value(r), r["labels_sha256"], r["model"], r["method"], r["run_id"]))
    return [list(rows) for _, rows in itertools.groupby(ranked, _group)]


def rank(rows: Sequence[Row]) -> list[Row]:
    """Return the RANKS of each measured row, among those of the same task, suite, labeller and size.

    By concentration of gender x race, the lower the fairer; equal values share the better rank. rank.low and rank.high
    are the ranks that a row could hold: 1 + the number of rows shown to be fairer, and M - the number shown to be less
    fair, by one-sided z tests of all M (M - 1) ordered pairs at (1 - 0.95) / (M (M - 1)) (Bonferroni), from the
    standard errors: the images are drawn again, the prompts stay. Rows of one base model share seeds, which makes the
    tests stricter than they say. Rows with the same labels of the same images, such as those of one run under two
    calibrations, hold one rank together and count once. A row without a value, or over a part of the prompts, has none.

    Source: as fairbench/stats/ranking.py; z tests, as a CSV holds no prompt values.
    """
    ranked = [r for r in rows if _value(r) < math.inf]
    peers = {group: list(_one_per_label_table(members)) for group, members in _by(_group, ranked).items()}
    return [_ranks(r, peers.get(_group(r), [])) for r in rows]


def _by(key: Callable[[Row], tuple[str, ...]], rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    members: dict[tuple[str, ...], list[Row]] = {}
    for r in rows:
        members.setdefault(key(r), []).append(r)
    return members


def _one_per_label_table(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the first of the rows that rest on one label table; a row that names none stands for itself."""
    seen: set[str] = set()
    for r in rows:
        if not r["labels_sha256"] or r["labels_sha256"] not in seen:
            seen.add(r["labels_sha256"])
            yield r


def _ranks(row: Row, peers: Sequence[Row]) -> Row:
    """Return the RANKS of a row among its peers, itself included."""
    value, error = _value(row), _error(row)
    if value == math.inf:
        return dict.fromkeys(RANKS, "")
    pairs = len(peers) * (len(peers) - 1)
    z = NormalDist().inv_cdf(1 - (1 - _LEVEL) / pairs) if pairs else 0.0
    margins = [(_value(p) - value, z * math.hypot(error, _error(p))) for p in peers]
    better = sum(difference < 0 for difference, _ in margins)
    low = sum(-difference > margin for difference, margin in margins)
    high = len(peers) - sum(difference > margin for difference, margin in margins)
    return dict(zip(RANKS, (str(1 + better), str(1 + low), str(high)), strict=True))


def _group(r: Row) -> tuple[str, ...]:
    return tuple(r[c] for c in _COMPARABLE)


def _value(r: Row) -> float:
    """Return what a row is ranked by; infinity where it has no rank."""
    incomplete = any(part.startswith(f"{RANKED_BY}:") for part in r["missing"].split("; "))
    # The images of a folder are whatever somebody put there: nothing says that two such runs compare.
    is_folder = r["task"] == "folder"
    return math.inf if incomplete or is_folder or not r[RANKED_BY] else float(r[RANKED_BY])


def _error(r: Row) -> float:
    """Return the standard error of that; infinity, so that nothing is shown, where it is not known."""
    return float(r[_ERROR]) if r[_ERROR] else math.inf
