"""leaderboard: one CSV a task version, a row a run, in a fixed column order. Published numbers stand apart.

Only headline metrics have columns; every metric of a run is in its metrics.parquet. A row is found again by its
run_id, and the hash of its label table says which labels it was computed from.
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

import fairbench
from fairbench import atomic, keys, schemas
from fairbench.errors import CardError, StoreError, storage_errors
from fairbench.stages.ids import IdIndex
from fairbench.stages.pipeline import Outcome
from fairbench.store import Store

ATTRIBUTES: Final = ("gender", "race4", "race7", "gender_x_race4")
METRICS: Final = ("rd", "rd-normalised", "entropy", "majority-share")
SCORES: Final = ("clip_score", "clip_iqa", "inception_score")
COLUMNS: Final[tuple[str, ...]] = (
    "rank", "source", "model", "revision", "method", "task", "task_version", "suite", "labeller",
    "labeller_id", "images_per_prompt", "prompts", "n_requested", "n_images", "n_faces",
    *(c for a in ATTRIBUTES for c in (*(f"{a}.{m}" for m in METRICS), f"{a}.n")),
    "no-face-rate", "no-face-rate.n", *(c for s in SCORES for c in (s, f"{s}.n")),
    "missing", "run_id", "labels_sha256", "fairbench", "date", "published_in", "note",
)  # fmt: skip
RANKED_BY: Final = "gender_x_race4.rd"
_COMPARABLE: Final = ("task", "suite", "labeller_id", "images_per_prompt", "prompts")
_NUMBERS: Final = tuple(
    c for c in COLUMNS if c.endswith(tuple(f".{m}" for m in METRICS)) or c in SCORES or c == "no-face-rate"
)
Row = dict[str, str]


def row(outcome: Outcome, store: Store) -> Row:
    """Return the leaderboard row of a finished run."""
    plan, table = outcome.plan, outcome.metrics
    assert table is not None and outcome.counts is not None
    found = table.filter(pc.equal(table["scope"], "task")).to_pylist()
    by_name = {(r["attribute"], r["metric"]): r for r in found}
    per_prompt = sorted(set(outcome.counts.requested.tolist()))
    weights = plan.card.weights
    values: dict[str, Any] = {
        "source": "measured",
        "model": plan.card.name,
        "revision": "" if weights is None else "local" if weights.path else weights.revision or "unpinned",
        "method": plan.method,
        "task": plan.task,
        "task_version": plan.task_version,
        "suite": keys.digest("prompts", [p.text for p in plan.prompts]).hex()[:12],
        "labeller": plan.labeller.card.name,
        "labeller_id": plan.labeller.id,
        "images_per_prompt": per_prompt[0] if len(per_prompt) == 1 else f"{per_prompt[0]}-{per_prompt[-1]}",
        "prompts": len(plan.prompts),
        "n_requested": int(outcome.counts.requested.sum()),
        "n_images": int(outcome.counts.images.sum()),
        "n_faces": int(outcome.counts.selected.sum()),
        "run_id": plan.run_id,
        "labels_sha256": labels_sha256(outcome, store),
        "fairbench": fairbench.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    reasons = []
    for column, key, size in _cells():
        entry = by_name.get(key)
        values[column] = None if entry is None else entry["value"]
        values.setdefault(f"{column.split('.')[0]}.n", None if entry is None else entry[size])
        if entry is not None and entry["reason"]:
            reasons.append(f"{column}: {entry['reason']}")
    values["missing"] = "; ".join(reasons)
    return {c: _text(values.get(c)) for c in COLUMNS}


def _cells() -> list[tuple[str, tuple[str, str], str]]:
    """Return (column, (attribute, metric), the count that belongs to it) of every value column."""
    shares = [(f"{a}.{m}", (a, m), "n_faces") for a in ATTRIBUTES for m in METRICS]
    return [
        *shares,
        ("no-face-rate", ("faces", "no-face-rate"), "n_images"),
        *((s, ("quality", s), "n_faces") for s in SCORES),
    ]


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def labels_sha256(outcome: Outcome, store: Store) -> str:
    """Return the sha256 of a run's label rows in one canonical order: face id, attribute, label, probability."""
    wanted = IdIndex(pa.array([r.request.image_id for r in outcome.rows], schemas.ID))
    columns = ["face_id", "attribute", "label", "prob"]
    parts = []
    for _, table in store.scan("labels", outcome.plan.labels_key, [*columns, "image_id"]):
        parts.append(table.filter(wanted.known(table["image_id"])).select(columns).to_pandas())
    if not parts:
        return hashlib.sha256().hexdigest()
    rows = pd.concat(parts).drop_duplicates(["face_id", "attribute"]).sort_values(["face_id", "attribute"])
    lines = (f"{f.hex()},{a},{lab},{p:.6f}\n" for f, a, lab, p in rows.itertuples(index=False))
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def read(path: Path) -> list[Row]:
    """Return the rows of a leaderboard. Raises CardError where it is no leaderboard."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise CardError(f"{path} cannot be read as a CSV file ({err}).") from err
    if columns != COLUMNS:
        raise CardError(
            f"{path}, line 1: the columns are not those of a leaderboard of this version; name another file."
        )
    bad = next((i for i, r in enumerate(rows, 2) if None in r or None in r.values()), None)
    if bad is not None:
        raise CardError(f"{path}, line {bad}: the row has another number of fields than line 1; mend it.")
    for line, found in enumerate(rows, 2):
        wrong = next((c for c in _NUMBERS if found[c] and not _is_number(found[c])), None)
        if wrong is not None:
            raise CardError(f"{path}, line {line}, field {wrong}: {found[wrong]!r} is no number; mend it.")
    return rows


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def add(path: Path, new: Row) -> None:
    """Add a row, or replace the row of the same run; safe with other writers. Raises StoreError, CardError."""
    from filelock import FileLock, Timeout

    path = path.resolve()
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
            rows = (
                [r for r in read(path) if not (r["run_id"] and r["run_id"] == new["run_id"])] if path.exists() else []
            )
            atomic.write_text(path, render([*rows, new]))


def render(rows: Sequence[Row]) -> str:
    """Return the CSV text: measured rows by rank, then published ones, which are never ranked."""
    measured = _ranked([r for r in rows if r["source"] == "measured"])
    published = [{**r, "rank": ""} for r in rows if r["source"] != "measured"]
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*measured, *published])
    return out.getvalue()


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Rank rows that compare (same task, labeller, size) by RD of gender x race; an incomplete row has no rank."""

    def value(r: Mapping[str, str]) -> float:
        incomplete = any(part.startswith(f"{RANKED_BY}:") for part in r["missing"].split("; "))
        # The images of a folder are whatever somebody put there: nothing says that two such runs compare.
        alone = r["task"] == "folder"
        return float("inf") if incomplete or alone or not r[RANKED_BY] else float(r[RANKED_BY])

    ordered = sorted(rows, key=lambda r: (*(r[c] for c in _COMPARABLE), value(r), r["model"], r["method"], r["run_id"]))
    found = []
    for r in ordered:
        better = [o for o in ordered if all(o[c] == r[c] for c in _COMPARABLE) and value(o) < value(r)]
        found.append({**r, "rank": "" if value(r) == float("inf") else str(len(better) + 1)})
    return found
