"""The run folder: metrics, per-prompt tables, contact sheets, and run.json, which is written last."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
import secrets
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

import fairbench
from fairbench.display.json_values import plain
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import FairbenchError
from fairbench.measure.counts import attributes, cross_name
from fairbench.notices import notice
from fairbench.runs import evidence, known_truth, prompts, references, sheet
from fairbench.runs.pipeline import Outcome
from fairbench.runs.spec import Plan
from fairbench.storage import atomic, folders, provenance
from fairbench.storage.store import Store

__all__ = ["LABEL_NOTE", "default_name", "manifest", "prepare", "refuse_guess", "write"]


def default_name(plan: Plan) -> str:
    """Return a folder name that tells the run and cannot clash with another."""
    parts = [plan.card.name, plan.method, plan.task, plan.labeller.card.name]
    safe = ["".join(c if c.isalnum() or c in "._-" else "-" for c in p)[:60] for p in parts]
    return "-".join([*safe, plan.run_id[:8]])


def prepare(folder: Path, store: Path) -> None:
    """Refuse now what could only fail after all the work: a folder that holds something else, or cannot be written.

    Makes nothing. store: the run store. Raises FairbenchError.
    """
    folders.check(folder, folders.RUN, store=store)


def refuse_guess(folder: Path, plan: Plan) -> None:
    """Refuse to replace a folder's run by one that nobody described: `--out` alone asks for the default model.

    Raises FairbenchError that says what the folder holds, and what to type.
    """
    there = _record(folder)
    if there is None or there["run_id"] == plan.run_id:
        return
    raise FairbenchError(
        f"--out {folder} holds run {there['run_id'][:8]}, and no other option says what to run: to do that run again, "
        f"type {_command(there)} --out {shlex.quote(str(folder))}; for another run, name its --model or --task."
    )


def _command(record: dict[str, Any]) -> str:
    """Return the command line of a run, from its record."""
    settings = record.get("settings")
    given: dict[str, Any] = settings if isinstance(settings, dict) else {}
    words = ["fairbench", "run"]
    for name in ("model", "task", "method", "labeller", "images_per_prompt", "limit_prompts", "scorers", "seed"):
        value = given.get(name)
        if isinstance(value, list):
            value = ",".join(map(str, value)) or "none"
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def write(outcome: Outcome, store: Store, folder: Path, *, sheets: bool) -> dict[str, Any]:
    """Write everything and return what run.json holds. Raises FairbenchError, StoreError.

    The folder then holds this run alone, or, where that fails, what it held before. Another run's files that it held
    are kept beside it.
    """
    assert outcome.metrics is not None
    run_id = outcome.plan.run_id
    aside = _Aside(folder, run_id)
    with folders.replacing(folder, folders.RUN, lambda real: aside.keep(real, new, sheets=sheets)) as new:
        atomic.write_bytes(new / "metrics.parquet", _parquet(outcome.metrics))
        atomic.write_bytes(new / "metrics.csv", _csv(outcome.metrics))
        atomic.write_bytes(new / "prompts.parquet", _parquet(prompts.table(outcome.plan.prompts)))
        atomic.write_text(new / "prompts.csv", _prompt_table(outcome))
        atomic.write_text(new / "notices.csv", _notice_table(outcome))
        if sheets:
            sheet.write(outcome, store, new / "sheets")
        left_out = evidence.write(outcome, store, new)
        record = {**manifest(outcome, store), "scores_without_evidence": left_out}
        atomic.write_text(new / "run.json", record_text(record))
    return record


class _Aside:
    """Keeps what a run folder holds of another run: in a folder beside it, named after that run's id."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._run_id = run_id
        self._announced = self._free(folder)
        if self._announced is not None:
            self._tell(folder, self._announced)

    def keep(self, folder: Path, new: Path, *, sheets: bool) -> None:
        """Keep another run's files in a folder beside `folder`; of the same run, the sheets where `new` has none."""
        target = self._free(folder)
        if target is None:
            if not sheets:
                for name in folders.files(folder, r"sheets/.*"):
                    _link(folder / name, new / name)
            return
        fresh = target.with_name(f".fairbench-new-{secrets.token_hex(4)}")
        for name in folders.files(folder, folders.RUN.files):
            _link(folder / name, fresh / name)
        fresh.rename(target)
        if self._announced is None or self._announced.name != target.name:
            self._tell(folder, target)

    def _free(self, folder: Path) -> Path | None:
        """Return the name under which another run's files would be kept; None where the folder holds no other run."""
        real = Path(os.path.realpath(folder))
        there = _record(real)
        if there is None or there["run_id"] == self._run_id:
            return None
        names = (f"{real.name}-{there['run_id'][:8]}{'' if i == 1 else f'-{i}'}" for i in itertools.count(1))
        return next(real.with_name(name) for name in names if not os.path.lexists(real.with_name(name)))

    @staticmethod
    def _tell(folder: Path, target: Path) -> None:
        notice("moved-aside", f"{folder} held the results of another run: they are now in {target}")


def _record(folder: Path) -> dict[str, Any] | None:
    """Return the record of the run that a folder holds; None where it holds none."""
    if not folders.RUN.holds(folder):
        return None
    record: dict[str, Any] = json.loads((folder / "run.json").read_bytes())
    return {**record, "run_id": str(record["run_id"])}


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
    pa_csv.write_csv(table.replace_schema_metadata(None), sink)
    return bytes(sink.getvalue().to_pybytes())


def record_text(record: dict[str, Any]) -> str:
    """Return a run's record as JSON; what is no finite number is null, bytes are hex."""
    return json.dumps(plain(record), indent=2, default=_plain, allow_nan=False) + "\n"


def manifest(outcome: Outcome, store: Store) -> dict[str, Any]:
    """Return the record of a run: what was declared, what was counted, and where it was computed."""
    plan = outcome.plan
    return {
        "run_id": plan.run_id,
        "note": LABEL_NOTE,
        "fairbench": fairbench.__version__,
        "declared": plan.declared,
        "keys": {"images": plan.image_key, "faces": plan.faces_key, "labels": plan.labels_key},
        "model": plan.card.model_dump(),
        "method": plan.method,
        "quota": plan.quota,
        "task": {"name": plan.task, "version": plan.task_version, "prompts": [p.text for p in plan.prompts]},
        "labeller": plan.labeller.card.model_dump(by_alias=True),
        "labeller_id": plan.labeller.id,
        "labeller_parts": plan.labeller.parts,
        "scorers": {s.name: {"key": s.key, "backbone": outcome.backbones.get(s.name)} for s in plan.scorers},
        "settings": {f: getattr(plan.settings, f) for f in type(plan.settings).__slots__},
        "device": plan.ctx.device,
        "dtype": plan.ctx.dtype,
        "block_size": plan.ctx.block_size,
        "no_calibration": plan.no_calibration,
        "correction": _correction(outcome),
        "truth": [dataclasses.asdict(t) for t in known_truth.known(outcome)],
        "statuses": outcome.statuses,
        "made_in_this_process": outcome.made,
        "failures": _failures(outcome),
        "unread": {image_id.hex(): reason for image_id, reason in outcome.unread.items()},
        "damaged_shards": [str(p) for p in store.damaged],
        "seconds": outcome.timings,
        "notices": [n.record() for n in outcome.notices],
        "metric_versions": {s.metric: s.version for s in outcome.series},
        "effective_settings": _effective(plan.adapter),
        "environment": provenance.environment(plan.ctx.device),
    }


def _effective(adapter: Any) -> dict[str, Any] | None:
    """Return the settings that an adapter in fact worked with, defaults and file hashes included, where it tells."""
    tell = getattr(adapter, "effective_settings", None)
    settings: dict[str, Any] | None = None if tell is None else tell()
    return settings


def _correction(outcome: Outcome) -> dict[str, Any]:
    """Return whether the labeller's errors were corrected: with which calibration and assumptions, or why not."""
    found = outcome.correction
    assert found is not None
    known = found.calibration
    return {
        "reason": found.reason,
        "assumptions": found.assumptions,
        "calibration_sha": found.sha256,
        "domain": None if known is None else known.domain,
        "images": None if known is None else int(known.counts.sum()),
    }


def _failures(outcome: Outcome, most: int = 50) -> list[dict[str, str]]:
    failed = [r for r in outcome.rows if r.status != "ok"]
    return [{"image_id": r.request.image_id.hex(), "status": r.status, "error": r.error or ""} for r in failed[:most]]


def _prompt_table(outcome: Outcome) -> str:
    """Return the per-prompt table as CSV: counts, the share of every label of every attribute, RD, and references."""
    counts, plan = outcome.counts, outcome.plan
    assert counts is not None
    header = ["prompt", "subject", "category", "n_requested", "n_images", "n_with_face", "n_selected_faces"]
    shares: list[list[str]] = [[] for _ in plan.prompts]
    values = {(s.metric, s.attribute): s.values for s in outcome.series}
    for names in attributes(plan.labeller):
        name = cross_name(names)
        table = counts.of(names)
        cells = plan.labeller.classes(names)
        header += [f"{name}.n", *(f"{name}.share {c}" for c in cells), f"{name}.rd"]
        reference = references.of_prompts(plan, name)
        header += [] if reference is None else [f"{name}.reference {c}" for c in cells]
        for i, row in enumerate(table):
            n = int(row.sum())
            rd = values["rd", name][i]
            shares[i] += [str(n), *(f"{v / n:.6f}" if n else "" for v in row), f"{rd:.6f}" if n else ""]
            shares[i] += [] if reference is None else ["" if np.isnan(v) else f"{v:.6f}" for v in reference[i]]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for i, p in enumerate(plan.prompts):
        numbers = [int(a[i]) for a in (counts.requested, counts.images, counts.with_face, counts.selected)]
        writer.writerow([p.text, p.subject, p.category, *numbers, *shares[i]])
    return out.getvalue()


def _notice_table(outcome: Outcome) -> str:
    """Return the notices as CSV: all that a reader of the numbers has to know, and what to do about it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["code", "count", "text", "examples", "fix", "strict"])
    for one in outcome.notices:
        row = one.record()
        writer.writerow([row["code"], row["count"], row["text"], "; ".join(row["examples"]), row["fix"],
                         "yes" if row["strict"] else "no"])  # fmt: skip
    return out.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in run.json")
