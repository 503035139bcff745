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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist
from typing import Final, NamedTuple

from fairbench.cards.csvfile import number
from fairbench.cards.textfile import read_text
from fairbench.errors import CardError, StoreError, storage_errors
from fairbench.leaderboard.columns import ATTRIBUTES, COLUMNS, RANKS, VALUES, Row, upgraded
from fairbench.storage import atomic
from fairbench.storage.cells import bare

RANKED_BY: Final = "gender_x_race4.concentration"
_ERROR: Final = f"{RANKED_BY}.error"
_COMPARABLE: Final = ("task", "suite", "labeller_id", "images_per_prompt", "prompts")
_SAME_IMAGES: Final = ("labels_sha256", "model", "revision", "method", RANKED_BY)
SOURCES: Final = ("measured", "published")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What no CSV file in UTF-8 gives back as it was."""
_LEVEL: Final = 0.95
UNRANKED: Final = frozenset({"asked-labels", "self-judged"})
"""Notices of rows that have no rank: no people stand behind a model's answers, least of all about its own pictures."""
MIN_PROMPTS: Final = 10
"""Rows that rest on fewer carry a remark: they say nothing of other prompts."""


def read(path: Path) -> list[Row]:
    """Return the rows of a leaderboard, under today's columns whichever version wrote it. Raises CardError."""
    if not path.exists():
        raise CardError(
            f"There is no leaderboard {path} here: name its CSV, or make it with fairbench leaderboard add RUN "
            f"--leaderboard {path}."
        )
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        header, lines = tuple(map(bare, reader.fieldnames or ())), list(reader)
    except csv.Error as err:
        raise CardError(f"{path} cannot be read as a CSV file ({err}).") from err
    ragged = next((line for line, row in enumerate(lines, 2) if None in row or None in row.values()), None)
    if ragged is not None:
        raise CardError(f"{path}, line {ragged}: the row has another number of fields than line 1; fix it.")
    rows = upgraded(header, [{column: bare(text) for column, text in row.items()} for row in lines])
    if rows is None:
        fix = "name another file"
        raise CardError(f"{path}, line 1: the columns are not those of a leaderboard of this version; {fix}.")
    for line, row in enumerate(rows, 2):
        problem = _problem(row)
        if problem is not None:
            raise CardError(f"{path}, line {line}, field {problem}; fix it.")
    return rows


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


def replace(path: Path, rows_of_runs: Mapping[str, Row]) -> None:
    """Replace the rows of these runs, and write all others under today's columns. Raises StoreError, CardError."""
    with _locked(path.resolve()) as target:
        atomic.write_text(target, render([rows_of_runs.get(r["run_id"], r) for r in read(target)]))


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


class Standing(NamedTuple):
    """One place of the ranking: the rows of the same labels of the same images, one for each calibration, in its order.

    They are of one model and method, and share all numbers that no calibration changes; RANKS are the same.
    """

    rows: tuple[Row, ...]

    @property
    def shared(self) -> Row:
        """The cells that all rows have alike; "" where they differ, as in the values adjusted by each calibration."""
        return {c: text if all(r[c] == text for r in self.rows) else "" for c, text in self.rows[0].items()}

    @property
    def by_calibration(self) -> dict[str, Row]:
        """calibration_sha, "" for none, -> the whole row, in which the values adjusted by that calibration stand."""
        return {r["calibration_sha"]: r for r in self.rows}


def standings(rows: Sequence[Row]) -> list[list[Standing]]:
    """Return what `groups` does, with the rows of one label table put together.

    Each inner list compares, and is ordered by rank: show a line for each Standing, from `shared`, and in it a column
    for each calibration of the group (`calibrations`), from `by_calibration`, empty where the Standing lacks it.
    Rows of other names, values or labels stand alone, and so does one of no labels, or of a calibration that is there.
    """
    return [_merged(group) for group in groups(rows)]


def calibrations(group: Sequence[Standing]) -> list[str]:
    """Return the calibration_sha ("" for none) of every row of a group of `standings`, each once, as they come."""
    return list(dict.fromkeys(r["calibration_sha"] for standing in group for r in standing.rows))


def _merged(group: Sequence[Row]) -> list[Standing]:
    standings: dict[tuple[str, ...], Standing] = {}
    for r in group:
        is_labelled = bool(r["labels_sha256"]) and r["n_faces"] != "0"
        key = tuple(r[c] for c in _SAME_IMAGES) if is_labelled else (r["run_id"], str(len(standings)))
        while key in standings and r["calibration_sha"] in standings[key].by_calibration:
            key = (*key, r["run_id"])
        before = standings[key].rows if key in standings else ()
        standings[key] = Standing((*before, r))
    return list(standings.values())


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


def remark(r: Row) -> str | None:
    """Return what to know of the prompts that a measured row rests on; None where that is all of them, and enough."""
    of_attributes = [int(text) for a in ATTRIBUTES if (text := r[f"{a}.concentration.prompts"]).isdigit()]
    listed = int(r["prompts"]) if r["prompts"].isdigit() else None
    used = min(of_attributes, default=listed)
    if used is None:
        return None
    if used < MIN_PROMPTS:
        return f"only {used} prompt{'s' if used != 1 else ''}"
    return f"{used} of {listed} prompts" if listed is not None and used < listed else None


def _group(r: Row) -> tuple[str, ...]:
    return tuple(r[c] for c in _COMPARABLE)


def _value(r: Row) -> float:
    """Return what a row is ranked by; infinity where it has no rank."""
    incomplete = any(part.startswith(f"{RANKED_BY}:") for part in r["missing"].split("; "))
    # The images of a folder are whatever somebody put there: nothing says that two such runs compare.
    is_folder = r["task"] == "folder"
    is_asked = not UNRANKED.isdisjoint(r["notices"].split("; "))
    return math.inf if incomplete or is_folder or is_asked or not r[RANKED_BY] else float(r[RANKED_BY])


def _error(r: Row) -> float:
    """Return the standard error of that; infinity, so that nothing is shown, where it is not known."""
    return float(r[_ERROR]) if r[_ERROR] else math.inf
