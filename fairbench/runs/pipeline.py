"""A run from end to end: spec -> images -> faces and labels -> scores -> metrics. Every stage resumes by itself."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError, PluginError
from fairbench.measure import correction, estimates
from fairbench.measure import scores as measured_scores
from fairbench.measure import series as measure_series
from fairbench.measure import table as metrics_table
from fairbench.measure.correction import Correction
from fairbench.measure.counts import Counts, count
from fairbench.measure.estimates import Estimate
from fairbench.measure.series import Series
from fairbench.measure.table import RunNames
from fairbench.notices import Notices, collecting, notice
from fairbench.protocols import Scorer, Served
from fairbench.runs import images, origin, scores, spending
from fairbench.runs import labels as run_labels
from fairbench.runs import notices as run_notices
from fairbench.runs import spec as run_spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.distributed import Distribute, Distributed, WorkerReport
from fairbench.runs.scores import RunScorer
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading, schemas
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store


@dataclass
class Outcome:
    """The result of a run. `metrics`, `counts` and `series` are None for one shard of a run."""

    spec: RunSpec
    rows: list[ImageRow]
    statuses: dict[str, dict[str, int]]
    timings: dict[str, float]
    made: dict[str, int]
    backbones: dict[str, str] = field(default_factory=dict)
    metrics: pa.Table | None = None
    counts: Counts | None = None
    series: list[Series] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    correction: Correction | None = None
    unread: dict[bytes, str] = field(default_factory=dict)
    workers: list[WorkerReport] = field(default_factory=list)
    notices: Notices = field(default_factory=Notices)
    """What the spec and every stage reported: all that a reader of the numbers has to know."""

    @property
    def unreadable(self) -> list[str]:
        """Reasons why files that the user gave, or images of the store, could not be used."""
        files = [r.error or "" for r in self.rows if r.status == "failed" and r.request.path]
        return files + list(self.unread.values())


def run(spec: RunSpec, store: Store, progress: Progress, distribute: Distribute | None = None) -> Outcome:
    """Do a run, or what is left of it. Raises FairbenchError for what the user can fix.

    distribute: has other processes make and store what is left; whatever they leave is made here.
    """
    damaged = False
    with collecting(spec.notices) as reported:
        while True:
            try:
                outcome = _run(spec, store, progress, distribute)
                break
            except images.BlockTooLarge:
                spec = run_spec.make(with_smaller_blocks(spec), progress)
            except reading.DamagedInUse:
                if damaged:
                    raise
                damaged = True
                store.distrust()  # its images are made again, as are those of whatever else is damaged
    for new in (*outcome.spec.notices, *reported):
        outcome.notices.add(new)
    return outcome


def with_smaller_blocks(spec: RunSpec) -> RunSettings:
    """Return a spec's settings with blocks of half the size, after one did not fit into memory; says so."""
    size, dtype = spec.ctx.block_size // 2, spec.ctx.dtype
    notice("memory", f"out of memory: again with blocks of {size} (in {dtype}, the block is in the image key)")
    return dataclasses.replace(spec.settings, batch_size=size)


def _run(spec: RunSpec, store: Store, progress: Progress, distribute: Distribute | None) -> Outcome:
    timings: dict[str, float] = {}
    made: dict[str, int] = {}
    others = Distributed()
    loaded = scores.Scorers(spec.scorers, spec.ctx)
    origin.note(store, spec)

    def before() -> None:  # absent weights and broken plug-ins are better told before hours of work
        spec.labeller.load()
        loaded.load()

    with _timed(timings, "images"):
        if spec.without_images:
            made["images"] = images.declare(store, spec.image_key, spec.work, method=spec.method)
        else:
            spending.limit(spec, store)
            if distribute is not None:
                others = distribute(spec, store, progress)
            made["images"] = others.images + images.generate(
                store,
                spec.image_key,
                spec.work,
                spec.adapter,
                method=spec.method,
                adapter=spec.card.adapter,
                block_size=spec.ctx.block_size,
                fixed_block=spec.fixed_block,
                progress=progress,
                before=before,
                behind=spec.ctx.device != "cpu",
            )
        rows = reading.index(store, spec.image_key, spec.work)
    with _timed(timings, "labels"):
        labels = run_labels.stage(store, spec.labeller, spec.faces_key, spec.labels_key)
        labels.failed |= others.failed
        made["labels"] = others.labels + labels.run(rows, progress)
    built: dict[str, tuple[Scorer | None, str | None]] = {}
    with _timed(timings, "scores"):
        for scorer in spec.scorers:
            built[scorer.name] = _score(spec, scorer, loaded, store, rows, progress)
    outcome = Outcome(spec, rows, {"images": _tally("images", Counter(r.status for r in rows))}, timings, made)
    outcome.unread, outcome.workers = labels.unread, others.workers
    outcome.backbones = {name: s.backbone for name, (s, _) in built.items() if s is not None}
    if spec.settings.shard is None:
        with _timed(timings, "metrics"):
            _measure(outcome, store, built)
    return outcome


def _score(
    spec: RunSpec, scorer: RunScorer, loaded: scores.Scorers, store: Store, rows: list[ImageRow], progress: Progress
) -> tuple[Scorer | None, str | None]:
    """Score what is not scored yet. A scorer that cannot be had yields its reason, and the run goes on."""
    scorable = scores.scorable(scorer, spec.prompts, rows)
    if scorer.key is not None and rows and not scorable:
        return None, "the images have no prompts"
    built, reason = loaded.get(scorer)
    if built is None or scorer.key is None:
        return None, reason
    scored = [dataclasses.replace(p, text=p.scored_as or p.text) for p in spec.prompts]
    texts = scores.scored_texts(spec.prompts)
    try:
        run_notices.report_prompts(scorer.name, built, scored, spec.scored_language)
        scores.score(store, scorer.key, scorer.name, built, scorable, texts, progress)
    except PluginError as err:
        return loaded.leave_out(scorer, str(err))
    return built, None


def _measure(outcome: Outcome, store: Store, built: dict[str, tuple[Scorer | None, str | None]]) -> None:
    spec, rows = outcome.spec, outcome.rows
    missing = len(spec.requests) - len(rows)
    if missing:
        raise FairbenchError(f"{missing} images disappeared from the store during the run: run the same command again.")
    neutral_ids = [p.neutral_id for p in spec.prompts]
    counts = count(store, spec.labeller, spec.faces_key, spec.labels_key, rows, neutral_ids)
    pa.default_memory_pool().release_unused()  # pyarrow keeps what it has freed, out of reach of numpy
    outcome.statuses["faces"] = _tally("faces", counts.statuses["faces"])
    outcome.statuses["labels"] = _tally("labels", counts.statuses["labels"])
    series = list(measure_series.evaluate(counts, spec.prompts, spec.references, spec.settings.metrics))
    for scorer in spec.scorers:
        instance, reason = built[scorer.name]
        measured = None
        if instance is not None and scorer.key:
            measured = measured_scores.collect(store, scorer.key, scores.scorable(scorer, spec.prompts, rows))
            outcome.statuses[scorer.name] = _tally("scores", measured.statuses)
            run_notices.report_failures(scorer.name, measured)
        series += measure_series.score_series(scorer.plugin, instance, measured, reason, spec.prompts)
    if not spec.without_images:
        run_notices.report_images(store, spec.image_key, rows, spec.prompts, near_copies=spec.settings.near_copies)
    run_notices.report_counts(counts, spec.prompts)
    names = RunNames(spec.run_id, spec.card.name, spec.method, spec.task, spec.labeller.card.name)
    outcome.counts, outcome.series = counts, series
    outcome.correction = correction.prepare(spec.calibration, spec.no_calibration, counts, spec.domain)
    outcome.estimates = estimates.estimate(
        counts, series, outcome.correction, asked=spec.prompts, references=spec.references
    )
    outcome.metrics = metrics_table.build(names, spec.prompts, counts, series, outcome.estimates)


def _tally(table: str, counted: Counter[str]) -> dict[str, int]:
    """Return how often every status of a table occurs, those that do not included."""
    return {status: counted[status] for status in sorted(schemas.STATUSES[table])}


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = round(time.perf_counter() - start, 3)


def _guessed_bytes(spec: RunSpec) -> float:
    """Return the size of one PNG, before there is one to look at: 1.5 bytes per pixel of the size the card states."""
    sampling = spec.card.sampling
    side = sampling.get("image_size", 512)
    if isinstance(spec.adapter, Served) and spec.adapter.size is not None:
        return 1.5 * spec.adapter.size[0] * spec.adapter.size[1]
    return 1.5 * float(sampling.get("width") or side) * float(sampling.get("height") or side)


def preview(spec: RunSpec, store: Store) -> dict[str, Any]:
    """Return what a run would do: counts, what the store has already, bytes and seconds it may still take."""
    have: set[bytes] = set()
    seconds: list[float] = []
    for _, table in store.scan("images", spec.image_key, ["image_id", "seconds"]):
        have.update(table["image_id"].to_pylist())
        seconds += [s for s in table["seconds"].to_pylist() if s is not None]
    n_images = len(spec.work)
    todo = sum(r.image_id not in have for r in spec.work)
    answered = len(spending.waiting(spec, store) & {r.image_id for r in spec.work} - have)
    duration = spending.seconds(spec, todo - answered, seconds)
    questions, questions_cost = spending.questions(spec)
    measured = sum(s.size for s in store.listing("images", spec.image_key)) / len(have) if have else None
    # Files of a folder stay where they are.
    stored = not spec.without_images and not (spec.work and spec.work[0].path)
    return {
        "model": spec.card.name,
        "method": spec.method,
        "task": spec.task,
        "labeller": spec.labeller.card.name,
        "run_id": spec.run_id,
        "prompts": len(spec.prompts),
        "images": n_images,
        "images_in_store": n_images - todo,
        "images_to_make": todo,
        "disk_bytes": int(todo * (measured or _guessed_bytes(spec))) if stored else 0,
        "disk_is_guessed": stored and measured is None,
        "seconds": None if duration is None else round(duration, 1),
        "images_answered": answered,
        "served": isinstance(spec.adapter, Served),
        "cost": spending.cost(spec, todo - answered),
        "questions": questions,
        "questions_cost": questions_cost,
        "first_prompt": spec.requests[0].text if spec.requests else None,
        "image_key": spec.image_key,
        "notices": [n.record() for n in spec.notices],
    }
