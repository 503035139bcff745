"""Evidence of leaderboard rows: a run's, checked, and copied without what is nobody's business (paths, errors)."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairbench import keys
from fairbench.errors import FairbenchError
from fairbench.measure.correction import fingerprint
from fairbench.networks import identity
from fairbench.runs import evidence
from fairbench.runs.evidence import CALIBRATION, FOLDER, FinishedRun
from fairbench.storage import atomic, folders, schemas
from fairbench.storage.store import Store

MANIFEST, PROMPTS = "run.json", "prompts.parquet"
OTHER_LABELLER: Final = "the calibration was made before the labeller was changed"
"""Stands for a sentence of `no_calibration`, which names where the calibration lies."""
_STAGES: Final = ("images", "faces", "labels", "scores")
_FOLDERS = re.compile(r"(?<![\w.:/\\])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\",;:/\\]+[/\\])+")
"""The folders of an absolute path within a text, but not those of a URL."""

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Part(BaseModel):
    """Of each part of run.json, what is declared here is checked and kept; the rest is left out."""

    model_config = ConfigDict(extra="ignore")


class _Keys(_Part):
    images: Id
    faces: Id
    labels: Id


class _Weights(_Part):
    repo: str | None
    revision: str | None
    path: str | None


class _Model(_Part):
    name: str
    weights: _Weights | None


class _Task(_Part):
    name: str
    version: int


class _Scorer(_Part):
    key: Id | None
    backbone: str | None


class _Notice(_Part):
    code: str
    count: int
    text: str
    examples: list[str] = []
    fix: str = ""
    strict: bool = False


class Record(_Part):
    """What a row needs of run.json, and what evidence needs to be read: all of it that is copied."""

    run_id: Id
    note: str
    fairbench: str
    declared: dict[str, Any]
    keys: _Keys
    model: _Model
    method: str
    quota: bool
    task: _Task
    labeller: dict[str, Any]
    labeller_id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    scorers: dict[str, _Scorer]
    no_calibration: str | None
    labeller_parts: dict[str, Any] | None = None
    scores_without_evidence: list[str] | None = None
    statuses: dict[str, dict[str, int]] | None = None
    unread: dict[str, str] = {}
    notices: list[_Notice] = []
    metric_versions: dict[str, int] | None = None
    effective_settings: dict[str, Any] | None = None

    def public(self) -> dict[str, Any]:
        """Return it as plain data, without absolute paths of the machine that it was made on."""
        hashed = {"declared", "labeller_parts"}  # the run's id and the labeller's stand for them as they are
        found = _without_paths(self.model_dump(exclude={*hashed, "unread"}, exclude_none=False))
        found["no_calibration"] = OTHER_LABELLER if self.no_calibration else None
        found["unread"] = dict.fromkeys(self.unread, "")  # the reasons name files
        return {**found, **{name: getattr(self, name) for name in sorted(hashed)}}


def record(run: FinishedRun) -> Record:
    """Return what run.json says. Raises FairbenchError that names the field which is not as a run writes it."""
    path = run.folder / MANIFEST
    try:
        return Record.model_validate(run.record)
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise FairbenchError(f"{path}, field {field}: {first['msg']}; do the run again.") from err


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
    wrong = _mismatch(run, record(run))
    if wrong is not None:
        raise FairbenchError(
            f"{folder / MANIFEST}, field {wrong}: it is not that of the evidence beside it; do the run again."
        )
    return run


def _mismatch(run: FinishedRun, known: Record) -> str | None:
    """Return the first field of the declared settings that the rest contradicts. The run's id is their hash."""
    declared, card = known.declared, run.counts.labeller.card
    task = {**known.task.model_dump(), "prompts": keys.digest("prompts", [p.text for p in run.prompts]).hex()}
    method = declared.get("method")
    facts: dict[str, Any] = {
        "model": known.model.name,
        "image_key": known.keys.images,
        "method": {"name": known.method, "version": method.get("version")} if isinstance(method, dict) else None,
        "task": task,
        "labels_key": known.keys.labels,
        "face_policy": identity.of_params(card.face_policy, None),
        "crosses": card.crosses,
        "images": keys.digest("requests", sorted(r.request.image_id for r in run.rows)).hex(),
        "calibration": None if run.calibration is None else fingerprint(run.calibration),
        "scorers": {name: scorer.key for name, scorer in known.scorers.items()},
    }
    wrong = (name for name, fact in facts.items() if name not in declared or declared[name] != fact)
    found = next(wrong, None)
    if found is not None:
        return f"declared.{found}"
    return None if keys.run_id(declared) == known.run_id else "run_id"


def publish(run: FinishedRun, target: Path) -> None:
    """Copy run.json, prompts.parquet and evidence/ of a checked run to `target`, in place of its earlier copy.

    All of it stands there or nothing. Left out: error texts of images and absolute paths, which tell of the machine.
    Raises FairbenchError where `target` holds something else, StoreError.
    """
    folders.check(target, folders.RUN, option="The folder for evidence,")
    with folders.replacing(target, folders.RUN) as fresh:
        _copy(run, record(run), fresh)


def _copy(run: FinishedRun, known: Record, fresh: Path) -> None:
    found = {"images": [known.keys.images], "faces": [known.keys.faces], "labels": [known.keys.labels],
             "scores": [s.key for s in known.scorers.values() if s.key]}  # fmt: skip
    source, kept = Store(run.folder / FOLDER, look_only=True), Store(fresh / FOLDER)
    kept.create()
    for stage, stage_keys in found.items():
        for key in stage_keys:
            for path in source.shards(stage, key):
                if stage != "images":
                    atomic.write_bytes(fresh / FOLDER / stage / key / path.name, path.read_bytes())
                elif (table := source.read(stage, path)) is not None:
                    kept.write(stage, key, _without_errors(table))
    if run.calibration is not None:
        command = _without_paths(run.calibration.command)
        dataclasses.replace(run.calibration, command=command).write(fresh / FOLDER / CALIBRATION)
    atomic.write_bytes(fresh / PROMPTS, (run.folder / PROMPTS).read_bytes())
    atomic.write_text(fresh / MANIFEST, json.dumps(known.public(), indent=2, allow_nan=False) + "\n")


def _without_errors(images: pa.Table) -> pa.Table:
    """Return the rows without the reasons why images failed: they name files; the status says enough."""
    place = images.schema.get_field_index("error")
    empty = images.set_column(place, images.schema.field(place), pa.nulls(len(images), pa.string()))
    return empty.cast(schemas.schema("images"))  # Parquet names the parts of a map otherwise than pyarrow


def _without_paths(value: Any) -> Any:
    """Return plain data in which an absolute path is only the name of its file."""
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_paths(v) for v in value]
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute():
            return kind(value).name
    return _FOLDERS.sub("", value)
