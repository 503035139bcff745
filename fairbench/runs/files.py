"""The run folder: metrics, per-prompt tables, contact sheets, and run.json, which is written last."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import secrets
import shlex
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

import fairbench
from fairbench.display.note import label_note
from fairbench.errors import FairbenchError
from fairbench.labelling.table_labeller import read_by
from fairbench.measure.counts import attributes, cross_name
from fairbench.measure.references import of_prompts
from fairbench.notices import notice
from fairbench.plugins import files as plugin_files
from fairbench.runs import arguments, embedded, evidence, known_truth, prompts, record, sheet
from fairbench.runs.pipeline import Outcome
from fairbench.runs.record import RunRecord
from fairbench.runs.reference_run import Reference
from fairbench.runs.spec import RunSpec
from fairbench.storage import atomic, folders, kinds, provenance
from fairbench.storage.cells import guarded_table
from fairbench.storage.store import Store

OPTIONS: Final = (
    *("model", "task", "method", "labeller", "labels", "calibration"),
    *("images_per_prompt", "limit_prompts", "scorers", "seed", "system_prompt", "scorer_reference"),
)
"""The settings that describe a run, as the command's options are called."""
MAX_FAILURES: Final = 50
"""Images without pixels that run.json lists."""


def default_name(spec: RunSpec) -> str:
    """Return a folder name that tells the run and cannot clash with another."""
    parts = [spec.card.name, spec.method, spec.task, spec.labeller.card.name]
    safe = ["".join(c if c.isalnum() or c in "._-" else "-" for c in p)[:60] for p in parts]
    return "-".join([*safe, spec.run_id[:8]])


def prepare(folder: Path, store: Path | None) -> None:
    """Refuse now what could only fail after all the work: a folder that holds something else, or cannot be written.

    Makes nothing. store: the run store's folder, if it has one. Raises FairbenchError.
    """
    folders.check(folder, kinds.RUN, store=store)


def refuse_guess(folder: Path, spec: RunSpec) -> None:
    """Refuse to replace a folder's run by one that nobody described: `--out` alone asks for the default model.

    Raises FairbenchError that says what the folder holds, and what to type.
    """
    run_id = _run_id(folder)
    if run_id is None or run_id == spec.run_id:
        return
    settings = record.read(folder / record.FILE).settings
    raise FairbenchError(
        f"--out {folder} holds run {run_id[:8]}, and no other option says what to run: to do that run again, type "
        f"{arguments.command(settings, OPTIONS)} --out {shlex.quote(str(folder))}; for another run, name its --model "
        "or --task."
    )


def write(
    outcome: Outcome, store: Store, folder: Path, *, sheets: bool, reference: Reference | None = None
) -> RunRecord:
    """Write everything and return the content of run.json. Raises FairbenchError, StoreError.

    reference: pictures on which the scorers' own gaps are known.

    The folder then holds this run alone, or, where that fails, what it held before. Another run's files that it held
    are kept beside it.
    """
    assert outcome.metrics is not None
    run_id = outcome.spec.run_id
    aside = _Aside(folder, run_id)
    with folders.replacing(folder, kinds.RUN, lambda real: aside.keep(real, new, sheets=sheets)) as new:
        atomic.write_bytes(new / "metrics.parquet", _parquet(outcome.metrics))
        atomic.write_bytes(new / "metrics.csv", _csv(outcome.metrics))
        atomic.write_bytes(new / "prompts.parquet", _parquet(prompts.table(outcome.spec.prompts)))
        atomic.write_text(new / "prompts.csv", _prompt_table(outcome))
        atomic.write_text(new / "notices.csv", _notice_table(outcome))
        if sheets and not outcome.spec.without_images:
            sheet.write(outcome, store, new / "sheets")
        without_evidence = evidence.write(outcome, store, new)
        assert outcome.counts is not None
        embedded.write(outcome.spec, outcome.rows, outcome.counts.labeller, store, new / evidence.FOLDER, reference)
        written = _record(outcome, store, without_evidence)
        atomic.write_text(new / record.FILE, written.json_text())
    return written


class _Aside:
    """Keeps what a run folder holds of another run: in a folder beside it, named after that run's id."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._run_id = run_id
        self._announced = self._free(folder)
        if self._announced is not None:
            self._tell(folder, self._announced)

    def keep(self, folder: Path, new: Path, *, sheets: bool) -> None:
        """Keep another run's files in a folder beside `folder`.

        Of the same run: what labels by people say of it, its page, and the sheets where `new` has none.
        """
        target = self._free(folder)
        if target is None:
            kept = rf"{kinds.PEOPLE.files}|{kinds.PAGE_OF_RUN.files}" if _run_id(folder) == self._run_id else r"(?!)"
            for name in folders.files(folder, kept if sheets else rf"{kept}|sheets/.*"):
                _link(folder / name, new / name)
            return
        fresh = target.with_name(f".fairbench-new-{secrets.token_hex(4)}")
        for name in folders.files(folder, kinds.RUN.files):
            _link(folder / name, fresh / name)
        fresh.rename(target)
        if self._announced is None or self._announced.name != target.name:
            self._tell(folder, target)

    def _free(self, folder: Path) -> Path | None:
        """Return the name under which another run's files would be kept; None where the folder holds no other run."""
        real = Path(os.path.realpath(folder))
        run_id = _run_id(real)
        if run_id is None or run_id == self._run_id:
            return None
        names = (f"{real.name}-{run_id[:8]}{'' if i == 1 else f'-{i}'}" for i in itertools.count(1))
        return next(real.with_name(name) for name in names if not os.path.lexists(real.with_name(name)))

    @staticmethod
    def _tell(folder: Path, target: Path) -> None:
        notice("moved-aside", f"{folder} held the results of another run: they are now in {target}")


def _run_id(folder: Path) -> str | None:
    """Return the id of the run that a folder holds, whatever else its run.json says; None where it holds none."""
    return str(json.loads((folder / record.FILE).read_bytes())["run_id"]) if kinds.RUN.holds(folder) else None


def _link(path: Path, target: Path) -> None:
    """Give a file a second name; a copy, where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())


def _csv(table: pa.Table) -> bytes:
    """Return a table as CSV; what is null is an empty field without quotes."""
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(guarded_table(table).replace_schema_metadata(None), sink)
    return bytes(sink.getvalue().to_pybytes())


def _record(outcome: Outcome, store: Store, without_evidence: list[str]) -> RunRecord:
    """Return the record of a run: what was declared, what was counted, and where it was computed."""
    spec, correction = outcome.spec, outcome.correction
    assert correction is not None
    calibration = correction.calibration
    not_ok = [r for r in outcome.rows if r.status != "ok"]
    effective_settings = getattr(spec.adapter, "effective_settings", None)
    return RunRecord(
        run_id=spec.run_id,
        note=label_note(read_by(spec.labeller.card)),
        fairbench=fairbench.__version__,
        declared=record.Declared(**spec.declared),
        keys=record.Keys(images=spec.image_key, faces=spec.faces_key, labels=spec.labels_key),
        model=record.RecordedModel.model_construct(**dict(spec.card)),
        method=spec.method,
        quota=spec.quota,
        task=record.RecordedTask(
            name=spec.task,
            version=spec.task_version,
            prompts=[p.text for p in spec.prompts],
            references_source=spec.reference_files.source,
            references_sha256=dict(spec.reference_files.sha256),
        ),
        labeller=spec.labeller.card,
        labeller_id=spec.labeller.id,
        labeller_parts=record.LabellerParts(**spec.labeller.parts),
        scorers={
            s.name: record.RecordedScorer(key=s.key, backbone=outcome.backbones.get(s.name)) for s in spec.scorers
        },
        settings=spec.settings,
        device=spec.ctx.device,
        dtype=spec.ctx.dtype,
        block_size=spec.ctx.block_size,
        no_calibration=spec.no_calibration,
        correction=record.RecordedCorrection(
            reason=correction.reason,
            refused={} if correction.reason is not None else correction.refusals,
            other_domain=correction.other_domain,
            assumptions=correction.assumptions,
            calibration_sha=correction.sha256,
            domain=None if calibration is None else calibration.domain,
            images=None if calibration is None else int(calibration.counts.sum()),
        ),
        truth=known_truth.compare(outcome),
        statuses=outcome.statuses,
        made_in_this_process=outcome.made,
        failures=[
            record.Failure(image_id=r.request.image_id.hex(), status=r.status, error=r.error or "")
            for r in not_ok[:MAX_FAILURES]
        ],
        unread={image_id.hex(): reason for image_id, reason in outcome.unread.items()},
        damaged_shards=[str(path) for path in store.damaged],
        seconds=outcome.timings,
        workers=[
            record.RecordedWorker(**dataclasses.asdict(w), images_per_second=w.images_per_second)
            for w in outcome.workers
        ],
        notices=[record.RecordedNotice(**n.record()) for n in outcome.notices],
        metric_versions={s.metric: s.version for s in outcome.series},
        effective_settings=None if effective_settings is None else effective_settings(),
        hooks=spec.hooks,
        environment=provenance.environment(spec.ctx.device),
        plugin_files=[record.RecordedFile(name=f.path.name, sha256=f.sha256) for f in plugin_files.imported()],
        scores_without_evidence=without_evidence,
    )


def _prompt_table(outcome: Outcome) -> str:
    """Return the per-prompt table as CSV: counts, the share of every label of every attribute, RD, and references."""
    counts, spec = outcome.counts, outcome.spec
    assert counts is not None
    header = ["prompt", "subject", "category", "n_requested", "n_images", "n_with_face", "n_selected_faces"]
    shares: list[list[str]] = [[] for _ in spec.prompts]
    values = {(s.metric, s.attribute): s.values for s in outcome.series}
    for names in attributes(spec.labeller):
        name = cross_name(names)
        table = counts.of(names)
        cells = spec.labeller.classes(names)
        header += [f"{name}.n", *(f"{name}.share {c}" for c in cells), f"{name}.rd"]
        reference = of_prompts(spec.references, name, len(cells), [p.subject for p in spec.prompts])
        header += [] if reference is None else [f"{name}.reference {c}" for c in cells]
        for i, row in enumerate(table):
            n = int(row.sum())
            rd = values["rd", name][i]
            shares[i] += [str(n), *(f"{v / n:.6f}" if n else "" for v in row), f"{rd:.6f}" if n else ""]
            shares[i] += [] if reference is None else ["" if np.isnan(v) else f"{v:.6f}" for v in reference[i]]
    lines: list[list[object]] = [[*header]]
    for i, p in enumerate(spec.prompts):
        numbers = [int(a[i]) for a in (counts.requested, counts.images, counts.with_face, counts.selected)]
        lines.append([p.text, p.subject, p.category, *numbers, *shares[i]])
    return atomic.csv_text(lines)


def _notice_table(outcome: Outcome) -> str:
    """Return the notices as CSV: all that a reader of the numbers has to know, and what to do about it."""
    lines: list[list[object]] = [["code", "count", "text", "examples", "fix", "strict"]]
    for row in (item.record() for item in outcome.notices):
        strict = "yes" if row["strict"] else "no"
        lines.append([row["code"], row["count"], row["text"], "; ".join(row["examples"]), row["fix"], strict])
    return atomic.csv_text(lines)
