"""Evidence of leaderboard rows: checks a run's and copies it without local paths and error texts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import pyarrow as pa

from fairbench.errors import FairbenchError
from fairbench.labelling import judges
from fairbench.measure.correction import fingerprint
from fairbench.runs import evidence, record
from fairbench.runs.evidence import CALIBRATION, FOLDER, FinishedRun
from fairbench.runs.record import RunRecord
from fairbench.storage import atomic, folders, kinds, schemas
from fairbench.storage.store import Store

PROMPTS: Final = "prompts.parquet"
OTHER_LABELLER: Final = "the calibration was made before the labeller was changed"
"""Replaces a sentence of `no_calibration`, which names the calibration's file."""
_STAGES: Final = ("images", "faces", "labels", "scores")
_PUBLIC: Final[dict[str, Any]] = {
    **dict.fromkeys(("run_id", "note", "fairbench", "keys", "method", "quota", "labeller", "labeller_id"), True),
    **dict.fromkeys(("scorers", "scores_without_evidence", "statuses", "notices", "metric_versions"), True),
    "effective_settings": True,
    "hooks": True,
    "model": dict.fromkeys(("name", "adapter", "weights", "licence", "verified"), True),
    "task": dict.fromkeys(("name", "version", "references_source", "references_sha256"), True),
}
"""What a copy holds of run.json, besides the fields that `public_record` treats one by one."""
_FOLDERS = re.compile(r"(?<![\w.:/\\])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\",;:/\\]+[/\\])+")
"""The folders of an absolute path within a text, but not those of a URL."""


def open_run(folder: Path) -> FinishedRun:
    """Read a run folder, or its copied evidence, of which all parts are whole and belong together.

    Raises FairbenchError that names the first part that is damaged, or that belongs to another run.
    """
    store = Store(folder / FOLDER, look_only=True)
    for stage in _STAGES:
        for path in sorted((folder / FOLDER / stage).glob("*/part-*.parquet")):
            if store.read(stage, path) is None:
                raise FairbenchError(
                    f"{path} is damaged (its name is not the hash of its bytes): do the run again, or fetch it again."
                )
    run = evidence.read(folder)
    field = _mismatch(run)
    if field is not None:
        raise FairbenchError(
            f"{folder / record.FILE}, field declared.{field}: it is not that of the evidence beside it; do the run "
            "again."
        )
    return run


def _mismatch(run: FinishedRun) -> str | None:
    """Return the first of the declared settings that the rest of run.json, or the calibration, contradicts.

    Only those that `evidence.read` does not compare. The run's id is the hash of the declared settings.
    """
    declared, written = run.record.declared, run.record
    agrees = {
        "model": declared.model == written.model.name,
        "method": declared.method.name == written.method,
        "task": (declared.task.name, declared.task.version) == (written.task.name, written.task.version),
        "calibration": declared.calibration == (None if run.calibration is None else fingerprint(run.calibration)),
        "scorers": declared.scorers == {name: scorer.key for name, scorer in written.scorers.items()},
    }
    return next((field for field, holds in agrees.items() if not holds), None)


def publish(run: FinishedRun, target: Path) -> None:
    """Copy run.json, prompts.parquet and evidence/ of a checked run to `target`, in place of its earlier copy.

    Everything is put in place at once, or nothing. Left out: error texts of images and absolute paths, which tell of
    the machine. Raises FairbenchError where `target` holds something else, StoreError.
    """
    folders.check(target, kinds.RUN, option="The folder for evidence,")
    with folders.replacing(target, kinds.RUN) as new:
        _copy_store(run, new)
        if run.calibration is not None:
            command = without_paths(run.calibration.command)
            dataclasses.replace(run.calibration, command=command).write(new / FOLDER / CALIBRATION)
        atomic.write_bytes(new / PROMPTS, (run.folder / PROMPTS).read_bytes())
        atomic.write_text(new / record.FILE, record.text_of(public_record(run.record)))


def _copy_store(run: FinishedRun, new: Path) -> None:
    """Copy the shards of a run's keys; those of images are written anew, without the reasons why images failed."""
    keys = run.record.keys
    stages = [("images", keys.images), ("faces", keys.faces), ("labels", keys.labels)]
    stages += [("scores", scorer.key) for scorer in run.record.scorers.values() if scorer.key]
    source, copy = Store(run.folder / FOLDER, look_only=True), Store(new / FOLDER)
    copy.create()
    for stage, key in stages:
        for path in source.shards(stage, key):
            if stage != "images":
                atomic.write_bytes(new / FOLDER / stage / key / path.name, Path(path).read_bytes())
            elif (table := source.read(stage, path)) is not None:
                copy.write(stage, key, _without_errors(table))


def public_record(written: RunRecord) -> dict[str, Any]:
    """Return what a copy holds of run.json, as plain data without absolute paths of the machine that wrote it."""
    parts = written.labeller_parts
    public = written.model_dump(by_alias=True, include=_PUBLIC)
    return {
        **without_paths({**public, "labeller": judges.without_addresses(public["labeller"])}),
        "no_calibration": OTHER_LABELLER if written.no_calibration else None,
        "unread": dict.fromkeys(written.unread, ""),  # the reasons name files
        # The run's id and the labeller's are hashes of these, so they stay as they are.
        "declared": written.declared.model_dump(),
        "labeller_parts": None if parts is None else parts.model_dump(),
    }


def _without_errors(images: pa.Table) -> pa.Table:
    """Return the rows without the reasons why images failed, which name files; the status says enough."""
    index = images.schema.get_field_index("error")
    no_errors = images.set_column(index, images.schema.field(index), pa.nulls(len(images), pa.string()))
    return no_errors.cast(schemas.schema("images"))  # Parquet names the parts of a map otherwise than pyarrow


def without_paths(value: Any) -> Any:
    """Return plain data in which an absolute path is only the name of its file."""
    if isinstance(value, dict):
        return {k: without_paths(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(v) for v in value]
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute():
            return kind(value).name
    return _FOLDERS.sub("", value)
