"""What a run's numbers rest on, without pixels: `RUN/evidence/` is a small store of the run's own rows.

From it, and from run.json, every number can be computed again on a CPU, without weights or images: comparisons start
here, and leaderboards are verified here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fairbench.errors import FairbenchError
from fairbench.labelling import confusion, domain
from fairbench.labelling.confusion import Calibration
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure import correction
from fairbench.measure import series as measure_series
from fairbench.measure import table as metrics_table
from fairbench.measure.correction import Correction
from fairbench.measure.counts import Counts, count
from fairbench.measure.estimates import Estimate, estimate
from fairbench.measure.series import Series
from fairbench.measure.table import RunNames
from fairbench.runs import evidence_checks, record
from fairbench.runs.evidence_checks import Evidence
from fairbench.runs.pipeline import Outcome
from fairbench.runs.record import RunRecord
from fairbench.storage import folders, schemas
from fairbench.storage.ids import IdIndex
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, Prompt

FOLDER, CALIBRATION = "evidence", "calibration.json"
_ONE_VALUE = 1
_IDS = {
    "images": ["image_id"],
    "faces": ["image_id", "face_index"],
    "labels": ["face_id", "attribute"],
    "scores": ["image_id"],
}
"""What tells the rows of a stage apart."""


def write(outcome: Outcome, store: Store, folder: Path) -> list[str]:
    """Write the evidence of a finished run into a new run folder; return the scorers whose scores it does not hold.

    Scores of more than one number per image (an Inception network's answers) are left out: they are as large as images.
    Raises StoreError.
    """
    spec = outcome.spec
    ids = IdIndex(pa.array([r.request.image_id for r in outcome.rows], schemas.ID))
    evidence = Store(folder / FOLDER)
    stages = [("images", spec.image_key), ("faces", spec.faces_key), ("labels", spec.labels_key)]
    stages += [("scores", s.key) for s in spec.scorers if s.key]
    for stage, key in stages:
        _write_stage(evidence, stage, key, _rows(store, stage, key, ids))
    if spec.calibration is not None:
        spec.calibration.write(folder / FOLDER / CALIBRATION)
    return [s.name for s in spec.scorers if s.key and _is_wide(store, s.key)]


def _write_stage(evidence: Store, stage: str, key: str, tables: Iterable[pa.Table]) -> None:
    """Write one stage's rows. A function of its own, so that no two stages are in memory at once."""
    rows = _first_looks(list(tables)) if stage == "faces" else list(tables)
    if rows:
        ordered = _ordered(stage, pa.concat_tables(rows))
        rows.clear()
        pa.default_memory_pool().release_unused()  # pyarrow keeps what it has freed
        evidence.write(stage, key, ordered)
        del ordered
    pa.default_memory_pool().release_unused()


def _is_wide(store: Store, key: str) -> bool:
    """Whether a scorer gives more than one number per image."""
    lengths = (pc.max(pc.list_value_length(t["features"])).as_py() for _, t in store.scan("scores", key, ["features"]))
    return any(length is not None and length > _ONE_VALUE for length in lengths)


def _rows(store: Store, stage: str, key: str, ids: IdIndex) -> Iterator[pa.Table]:
    """Yield the run's rows of a stage, without pixels and without wide features."""
    schema = schemas.schema(stage)
    for _, table in store.scan(stage, key, [name for name in schema.names if name != "image"]):
        rows = table.filter(ids.contains(table["image_id"]))
        if stage == "images":
            no_pixels = pa.nulls(len(rows), schema.field("image").type)
            rows = rows.append_column("image", no_pixels).select(schema.names)
        if stage == "scores":
            n_values = pc.fill_null(pc.list_value_length(rows["features"]), 0)
            rows = rows.filter(pc.less_equal(n_values, _ONE_VALUE))
        if len(rows):
            yield rows.replace_schema_metadata(schema.metadata).cast(schema)


def _first_looks(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Return the faces of each image's first successful detection, or of its first one where all failed.

    Two processes may have detected faces in one image, and not the same ones: a mixture would be neither's result.
    tables: each holds all faces of its images, or none.
    """
    done: set[bytes] = set()
    first_looks = []
    for wants_failed in (False, True):
        for table in tables:
            images = table["image_id"].to_pylist()
            failed = pc.equal(table["status"], "failed").to_pylist()
            fresh = [f is wants_failed and i not in done for i, f in zip(images, failed, strict=True)]
            first_looks.append(table.filter(pa.array(fresh, pa.bool_())))
            done.update(i for i, is_fresh in zip(images, fresh, strict=True) if is_fresh)
    return [table for table in first_looks if len(table)]


def _ordered(stage: str, table: pa.Table) -> pa.Table:
    """Sort by id and drop rows that two processes made twice, so that one run has one evidence."""
    ordered = table.sort_by([(name, "ascending") for name in _IDS[stage]])
    # After sorting, the copies of a row are neighbours: does each row but the first have the ids of the one before it?
    repeats = np.ones(max(0, len(ordered) - 1), dtype=bool)
    for name in _IDS[stage]:
        column = ordered[name].combine_chunks()
        row, before = column[1:], column[:-1]
        both_null = pc.and_(pc.is_null(row), pc.is_null(before))
        equal = pc.or_(pc.fill_null(pc.equal(row, before), False), both_null)
        repeats &= np.asarray(equal.to_numpy(zero_copy_only=False), dtype=bool)
    return ordered.filter(pa.array(np.concatenate([[True], ~repeats]))) if repeats.any() else ordered


@dataclass
class FinishedRun:
    """A run read back from its folder; what it holds is computed from the evidence, not read from its tables."""

    folder: Path
    record: RunRecord
    prompts: list[Prompt]
    rows: list[ImageRow]
    counts: Counts
    series: list[Series]
    calibration: Calibration | None
    correction: Correction
    scores: dict[str, pa.Table]
    """Scorer -> rows (image_id, neutral_id, value) of its images, for scorers of one number per image."""
    unbound: tuple[str, ...] = ()
    """Fields of run.json that nothing here could be held against, see `evidence_checks.unbound`."""

    @property
    def name(self) -> str:
        """Model and method, as tables show them."""
        method = self.record.method
        return self.record.model.name + ("" if method == "none" else f" + {method}")

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return self.record.run_id

    @property
    def names(self) -> RunNames:
        """Return what the metrics table calls the run and its parts."""
        record = self.record
        return RunNames(self.run_id, record.model.name, record.method, record.task.name, record.labeller.name)

    @cached_property
    def metrics_of_task(self) -> pa.Table:
        """The metrics table of all prompts together, computed anew and once: it takes seconds."""
        return metrics_table.build(self.names, self.prompts, self.counts, self.series, self.estimates(prompts=False))

    def estimates(self, n0: int | None = None, *, prompts: bool = True) -> list[Estimate]:
        """Return the estimates anew; see `estimates.estimate`."""
        references = self.record.declared.references
        asked = self.prompts
        return estimate(
            self.counts, self.series, self.correction, n0, prompts=prompts, asked=asked, references=references
        )


def read(folder: Path) -> FinishedRun:
    """Read a run folder. Raises FairbenchError that names the file where it is none, or is damaged."""
    folders.finish(folder)
    path = folder / record.FILE
    run = record.read(path)
    prompts = read_prompts(folder)
    if not (folder / FOLDER).is_dir():
        raise FairbenchError(
            f"{folder / FOLDER} is not there: the run is older than this version; do it again, from its store."
        )
    store = Store(folder / FOLDER, look_only=True)
    rows = _images(store, run.keys.images)
    neutral_ids = [p.neutral_id for p in prompts]
    if not rows or not {r.request.neutral_id for r in rows} <= set(neutral_ids):
        raise FairbenchError(
            f"{folder / FOLDER / 'images'} does not hold the images of the run's prompts: do the run again."
        )
    space = LabelSpace(run.labeller)
    try:
        evidence_checks.check(folder, Evidence(store, run, space, prompts, rows))
        unbound = evidence_checks.unbound(run, space)
    except (AttributeError, KeyError, TypeError, ValueError) as err:  # anybody may have written it
        raise FairbenchError(
            f"{path} is not as a run writes it ({type(err).__name__}: {err}): do the run again."
        ) from err
    counts = count(store, space, run.keys.faces, run.keys.labels, rows, neutral_ids)
    series = list(measure_series.evaluate(counts, prompts, run.declared.references))
    calibration_file = folder / FOLDER / CALIBRATION
    calibration = confusion.read(calibration_file) if calibration_file.exists() else None
    own = domain.of_run(run.model, run.declared.images)
    corrected = correction.prepare(calibration, run.no_calibration, counts, own)
    scores = {name: _scores(store, scorer.key) for name, scorer in run.scorers.items() if scorer.key}
    with_scores = {name: table for name, table in scores.items() if table is not None}
    return FinishedRun(folder, run, prompts, rows, counts, series, calibration, corrected, with_scores, unbound)


def read_prompts(folder: Path) -> list[Prompt]:
    """Return a run's prompts, in order. Raises FairbenchError that names the file where it cannot be read."""
    path = folder / "prompts.parquet"
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as err:
        raise FairbenchError(f"{path} cannot be read ({str(err).splitlines()[0]}): do the run again.") from err
    table = schemas.upgrade("prompts", table, str(path))
    rows = table.to_pylist()
    known = ("concept", "form")  # since version 2 of the table
    return [Prompt(**{**row, **{n: row[n] or "" for n in known}, "stated": dict(row["stated"] or ())}) for row in rows]


def _images(store: Store, key: str) -> list[ImageRow]:
    """Return the images' rows, prompt by prompt in the order of the requests."""
    rows: dict[bytes, ImageRow] = {}
    columns = ["image_id", "prompt_id", "neutral_id", "text", "sample_index", "seed", "status", "error", "sha256"]
    for path, table in store.scan("images", key, columns):
        for *request, status, error, sha256 in zip(*(table[c].to_pylist() for c in columns), strict=True):
            rows[request[0]] = ImageRow(ImageRequest(*request), status, error, sha256, path)
    return list(rows.values())


def _scores(store: Store, key: str) -> pa.Table | None:
    """Return the finite scores of a key; None where the evidence holds none."""
    tables = [t for _, t in store.scan("scores", key, ["image_id", "neutral_id", "status", "value"])]
    if not tables:
        return None
    whole = pa.concat_tables(tables)
    finite = pc.fill_null(pc.is_finite(whole["value"]), False)
    return whole.filter(pc.and_(pc.equal(whole["status"], "ok"), finite))


def score_values(run: FinishedRun, scorer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a scorer's mean value (P,) and the variance of that mean (P,) for each prompt, NaN where it has none."""
    index_of = {p.neutral_id: i for i, p in enumerate(run.prompts)}
    table = run.scores[scorer]
    values = np.asarray(table["value"].to_numpy(), dtype=np.float64)
    prompt = np.array([index_of[n] for n in table["neutral_id"].to_pylist()], dtype=np.int64)
    n = np.bincount(prompt, minlength=len(index_of)).astype(np.float64)
    mean = np.bincount(prompt, values, len(index_of)) / np.where(n > 0, n, np.nan)
    squares = np.bincount(prompt, (values - mean[prompt]) ** 2, len(index_of))
    return mean, squares / np.where(n > 1, n - 1, np.nan) / np.where(n > 0, n, np.nan)


def names(runs: Sequence[FinishedRun]) -> list[str]:
    """Return a different name for each run: model and method, with as much of the run's id as it takes."""
    plain = [r.name for r in runs]
    return [n if plain.count(n) == 1 else f"{n} ({r.run_id[:8]})" for n, r in zip(plain, runs, strict=True)]
