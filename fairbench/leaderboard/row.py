"""A run's leaderboard row, computed from its evidence: whoever has the evidence computes the same row."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import fairbench
from fairbench import keys
from fairbench.errors import FairbenchError
from fairbench.leaderboard import board
from fairbench.leaderboard import evidence as published
from fairbench.leaderboard.columns import ATTRIBUTES, COLUMNS, MEASURES, SCORES, Row, Source
from fairbench.leaderboard.evidence import OTHER_LABELLER
from fairbench.measure import composite
from fairbench.measure.series import FACES, QUALITY
from fairbench.runs.evidence import FOLDER, FinishedRun
from fairbench.runs.record import RunRecord
from fairbench.storage import schemas
from fairbench.storage.store import Store

EVIDENCE: Final = "evidence"
"""The folder beside a CSV: RUN_ID/ holds what the row of that run rests on."""
RUN_ID: Final = re.compile(r"[0-9a-f]{32}")
_NO_FACE: Final = "no-face-rate"
_SOURCES: Final = {
    **{f"{a}.{m}": (a, source) for a in ATTRIBUTES for m, source in MEASURES.items()},
    _NO_FACE: (FACES, Source(_NO_FACE, "raw", "value")),
    f"{_NO_FACE}.n": (FACES, Source(_NO_FACE, "raw", "n_images")),
}


def add_run(path: Path, run: FinishedRun, *, evidence: bool = True) -> Row:
    """Add the row of a run that `open_run` has read; its evidence first: no row is ever without it.

    Returns the row. Raises StoreError, CardError.
    """
    new, target = row(run), path.resolve().parent / EVIDENCE / run.run_id
    board.add(path, new, (lambda: published.publish(run, target)) if evidence else None)
    return new


def upgrade(path: Path) -> dict[str, bool]:
    """Write a leaderboard under today's columns, each measured row computed again from the evidence beside the file.

    What evidence does not hold stays: the date, the note, and scores of several numbers per image. Returns run id ->
    whether its evidence is there; a row without it stays as it is. Raises CardError, StoreError, and FairbenchError
    where evidence is damaged: then nothing is written.
    """
    rows, folder = board.read(path), path.resolve().parent / EVIDENCE
    measured = {r["run_id"]: r for r in rows if r["source"] == "measured" and RUN_ID.fullmatch(r["run_id"])}
    runs = {run_id: published.open_run(folder / run_id) for run_id in measured if (folder / run_id).is_dir()}
    again = {}
    for run_id, run in runs.items():
        beyond = {c: measured[run_id][c] for score in beyond_evidence(run) for c in (score, f"{score}.n")}
        again[run_id] = {**row(run), **beyond, **{c: measured[run_id][c] for c in ("date", "note", "published_in")}}
    board.replace(path, again)
    return {run_id: run_id in again for run_id in measured}


def row(run: FinishedRun) -> Row:
    """Return the leaderboard row of a run. Raises FairbenchError where its record lacks something.

    Scores of one number per image are the mean over images; one of several numbers per image (an inception score)
    cannot be computed from the evidence: it is taken from RUN/metrics.parquet where that is there, and is else empty.
    """
    record, counts = run.record, run.counts
    names = run.names
    rows = {(r["attribute"], r["metric"], r["estimate"]): r for r in _task_rows(run.metrics_of_task)}
    sizes = sorted(set(counts.requested.tolist()))
    values: dict[str, Any] = {
        "source": "measured",
        "model": names.model,
        "revision": _revision(record),
        **_card(record),
        "method": names.method,
        "quota": "yes" if record.quota else "no",
        "task": names.task,
        "task_version": record.task.version,
        "suite": keys.digest("prompts", [p.text for p in run.prompts]).hex()[:12],
        "labeller": names.labeller,
        "labeller_id": record.labeller_id,
        "calibration_sha": run.correction.sha256,
        "calibration_domain": None if run.calibration is None else run.calibration.domain,
        "images_per_prompt": sizes[0] if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}",
        "prompts": len(run.prompts),
        "n_requested": int(counts.requested.sum()),
        "n_images": int(counts.images.sum()),
        "n_faces": int(counts.selected.sum()),
        "n0": next((r["n0"] for r in rows.values() if r["estimate"] == "rarefied"), None),
        **{c: rows[a, s.metric, s.estimate][s.field] for c, (a, s) in _SOURCES.items() if (a, *s[:2]) in rows},
        **_scores(run),
        "notices": _notices(record),
        "missing": "; ".join(_missing(run, rows)),
        "run_id": run.run_id,
        "labels_sha256": labels_sha256(run),
        "fairbench": fairbench.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    return {c: _text(values.get(c)) for c in COLUMNS}


def _task_rows(metrics: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = metrics.filter(pc.equal(metrics["scope"], "task")).to_pylist()
    return rows


def _revision(record: RunRecord) -> str:
    """Return the commit of the weights, `local` for a folder, `unpinned` where the card names none."""
    weights = record.model.weights
    if weights is None:
        return ""
    return "local" if weights.path else weights.revision or "unpinned"


def _card(record: RunRecord) -> dict[str, str | None]:
    """Return what the model's card says of itself; None for what evidence of an earlier version does not hold."""
    model = record.model
    stated = model.model_fields_set
    return {
        "licence": str(published.without_paths(model.licence)) if "licence" in stated else None,
        "verified": model.verified,
        "way_in": model.way_in if "adapter" in stated else None,
    }


def _notices(record: RunRecord) -> str | None:
    """Return the codes of the run's notices, `none`, or None where the evidence does not say."""
    if "notices" not in record.model_fields_set:
        return None
    return "; ".join(sorted({each.code for each in record.notices})) or "none"


def _missing(run: FinishedRun, rows: Mapping[tuple[str, str, str], dict[str, Any]]) -> list[str]:
    """Return "COLUMN: reason" for every value that is absent, or that leaves prompts out."""
    missing = []
    for column, (attribute, source) in _SOURCES.items():
        reason = rows.get((attribute, *source[:2]), {}).get("reason")
        uncalibrated = source.estimate == "corrected" and run.calibration is None  # then nothing is missing
        in_metrics = source.metric in composite.NAMES  # rows from before there were these have no reasons of them
        if source.field != "value" or not reason or uncalibrated or in_metrics:
            continue
        other = source.estimate == "corrected" and run.record.no_calibration
        missing.append(f"{column}: {OTHER_LABELLER if other else reason}")
    scorers = _scorers(run).items()
    return missing + [f"{s}: not measured" for s, scorer in scorers if scorer and scorer.backbone is None]


def _scorer(column: str) -> str:
    return column.replace("_", "-")


def _scorers(run: FinishedRun) -> dict[str, Any]:
    return {column: run.record.scorers.get(_scorer(column)) for column in SCORES}


def _scores(run: FinishedRun) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in SCORES:
        single = run.scores.get(_scorer(column))
        if single is not None and len(single):
            values |= {column: float(pc.mean(single["value"]).as_py()), f"{column}.n": len(single)}
    for column in beyond_evidence(run):
        values |= _from_metrics(run.folder / "metrics.parquet", column)
    return values


def beyond_evidence(run: FinishedRun) -> list[str]:
    """Return the scores that were measured, but that the evidence does not hold: several numbers per image."""
    measured = [column for column, scorer in _scorers(run).items() if scorer and scorer.backbone]
    return [column for column in measured if not len(run.scores.get(_scorer(column), ()))]


def _from_metrics(path: Path, column: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        metrics = schemas.upgrade("metrics", pq.read_table(path, page_checksum_verification=True), str(path))
    except (OSError, pa.ArrowException) as err:
        raise FairbenchError(f"{path} cannot be read ({str(err).splitlines()[0]}): do the run again.") from err
    entries = (r for r in _task_rows(metrics) if (r["attribute"], r["metric"]) == (QUALITY, column))
    return {name: value for r in entries for name, value in ((column, r["value"]), (f"{column}.n", r["n_faces"]))}


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def labels_sha256(run: FinishedRun) -> str:
    """Return the sha256 of a run's label rows in one canonical order: face id, attribute, label, probability."""
    columns = ["face_id", "attribute", "label", "prob"]
    store = Store(run.folder / FOLDER, look_only=True)
    parts = [t.to_pandas() for _, t in store.scan("labels", run.record.keys.labels, columns)]
    digest = hashlib.sha256()
    if parts:
        rows = pd.concat(parts).drop_duplicates(["face_id", "attribute"]).sort_values(["face_id", "attribute"])
        for face, attribute, label, prob in rows.itertuples(index=False):
            digest.update(f"{face.hex()},{attribute},{label},{prob:.6f}\n".encode())
    return digest.hexdigest()
