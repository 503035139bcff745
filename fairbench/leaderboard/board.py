"""leaderboard: one CSV a task version, a row a run, in a fixed column order. Published numbers stand apart.

Only headline numbers have columns; every number of a run is in its metrics.parquet. A row is found again by its
run_id; leaderboard_row.py computes it, and the run's evidence beside the CSV lets anybody compute it again.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist
from typing import Final, NamedTuple

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
VALUES: Final = (
    *(f"{a}.{m}" for a in ATTRIBUTES for m in MEASURES),
    "no-face-rate", "no-face-rate.n", *(c for s in SCORES for c in (s, f"{s}.n")),
)  # fmt: skip
"""Columns of measured numbers."""
COLUMNS: Final[tuple[str, ...]] = (
    *RANKS, "source", "model", "revision", "method", "quota", "task", "task_version", "suite", "labeller",
    "labeller_id", "calibration_sha", "calibration_domain", "images_per_prompt", "prompts", "n_requested", "n_images",
    "n_faces", "n0", *VALUES, "missing", "run_id", "labels_sha256", "fairbench", "date", "published_in", "note",
)  # fmt: skip
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
            f"There is no leaderboard {path} here: name its CSV, or make it with fairbench leaderboard add RUN --csv "
            f"{path}."
        )
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        reader.fieldnames = [current(name) for name in reader.fieldnames or ()]
        columns, rows = tuple(reader.fieldnames), list(reader)
    except csv.Error as err:
        raise CardError(f"{path} cannot be read as a CSV file ({err}).") from err
    if columns != COLUMNS:
        raise CardError(
            f"{path}, line 1: the columns are not those of a leaderboard of this version; name another file."
        )
    bad = next((i for i, r in enumerate(rows, 2) if None in r or None in r.values()), None)
    if bad is not None:
        raise CardError(f"{path}, line {bad}: the row has another number of fields than line 1; mend it.")
    for line, found in enumerate(rows, 2):
        problem = _problem(found)
        if problem is not None:
            raise CardError(f"{path}, line {line}, field {problem}; mend it.")
    return [{**r, "missing": _current_reasons(r["missing"])} for r in rows]


def _current_reasons(missing: str) -> str:
    """Return "COLUMN: reason; ..." with today's names of columns."""
    parts = (part.partition(": ") for part in missing.split("; "))
    return "; ".join(current(column) + colon + reason for column, colon, reason in parts)


def _problem(row: Row) -> str | None:
    """Return "FIELD: what is wrong" of a row that cannot be in a leaderboard, or None."""
    if row["source"] not in SOURCES:
        return f"source: {row['source']!r} is neither {' nor '.join(SOURCES)}"
    wrong = next((c for c in VALUES if row.get(c) and not _is_number(row[c])), None)
    if wrong is not None:
        return f"{wrong}: {row[wrong]!r} is no finite number"
    odd = next((c for c, text in row.items() if _CONTROL.search(text)), None)
    return None if odd is None else f"{odd}: {row[odd]!r} holds a control character"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def add(path: Path, new: Row, before: Callable[[], None] | None = None) -> None:
    """Add a row, or replace the row of the same run; safe with other writers. Raises StoreError, CardError.

    before: done once the file is known to be good, and before it is written: what the row rests on comes first.
    """
    problem = _problem(new)
    if problem is not None:
        raise CardError(f"The row of run {new['run_id']} cannot be added to {path}, field {problem}.")
    with _locked(path.resolve()) as target:
        rows = read(target) if target.exists() else []
        if before is not None:
            before()
        kept = [r for r in rows if not (r["run_id"] and r["run_id"] == new["run_id"])]
        atomic.write_text(target, render([*kept, new]))


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    from filelock import FileLock, Timeout

    lock = path.with_name(f".{path.name}.lock")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(lock).acquire(timeout=60)
        except Timeout as err:
            raise StoreError(
                f"{lock} is held by another process: wait for it, then run the same command again."
            ) from err
        with held:
            yield path


def render(rows: Sequence[Row]) -> str:
    """Return the CSV text: measured rows by rank, then published ones, which are never ranked."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for group in groups(rows):
        writer.writerows(group)
    writer.writerows(published(rows))
    return out.getvalue()


def published(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that were copied from papers: without a rank, whatever the file says."""
    return [{**r, **dict.fromkeys(RANKS, "")} for r in rows if r["source"] != "measured"]


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the measured rows by what they can be compared with, and by rank within that."""
    measured = [r for r in rows if r["source"] == "measured"]
    placed = [{**r, **ranks} for r, ranks in zip(measured, rank(measured), strict=True)]
    found: dict[tuple[str, ...], list[Row]] = {}
    for r in sorted(placed, key=lambda r: (_group(r), _value(r), r["model"], r["method"], r["run_id"])):
        found.setdefault(_group(r), []).append(r)
    return list(found.values())


def rank(rows: Sequence[Row]) -> list[Row]:
    """Return the RANKS of each measured row, among those of the same task, suite, labeller and size.

    By concentration of gender x race, the lower the fairer; equal values share the better rank. rank.low and rank.high
    are the ranks that a row could hold: 1 + the number of rows shown to be fairer, and M - the number shown to be less
    fair, by one-sided z tests of all M (M - 1) ordered pairs at (1 - 0.95) / (M (M - 1)) (Bonferroni), from the
    standard errors: the images are drawn again, the prompts stay. Rows of one base model share seeds, which makes the
    tests stricter than they say. A row without a value, or over a part of the prompts, has no rank.

    Source: as fairbench/stats/ranking.py; z tests, as a CSV holds no prompt values.
    """
    found: list[Row] = []
    for r in rows:
        value, error = _value(r), _error(r)
        peers = [p for p in rows if _group(p) == _group(r) and _value(p) < math.inf]
        if value == math.inf:
            found.append(dict.fromkeys(RANKS, ""))
            continue
        pairs = len(peers) * (len(peers) - 1)
        reach = NormalDist().inv_cdf(1 - (1 - _LEVEL) / pairs) if pairs else 0.0
        margins = [(_value(p) - value, reach * math.hypot(error, _error(p))) for p in peers]
        better = sum(difference < 0 for difference, _ in margins)
        low = sum(-difference > margin for difference, margin in margins)
        high = len(peers) - sum(difference > margin for difference, margin in margins)
        found.append(dict(zip(RANKS, (str(1 + better), str(1 + low), str(high)), strict=True)))
    return found


def _group(r: Row) -> tuple[str, ...]:
    return tuple(r[c] for c in _COMPARABLE)


def _value(r: Row) -> float:
    """Return what a row is ranked by; infinity where it has no rank."""
    incomplete = any(part.startswith(f"{RANKED_BY}:") for part in r["missing"].split("; "))
    # The images of a folder are whatever somebody put there: nothing says that two such runs compare.
    alone = r["task"] == "folder"
    return math.inf if incomplete or alone or not r[RANKED_BY] else float(r[RANKED_BY])


def _error(r: Row) -> float:
    """Return the standard error of that; infinity, so that nothing is shown, where it is not known."""
    return float(r[_ERROR]) if r[_ERROR] else math.inf
