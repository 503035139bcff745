"""One pyarrow schema a table, `check` and `upgrade`. Every stored file names its table and its schema version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fairbench.errors import StoreError
from fairbench.storage.renamed import RENAMED

ID: Final = pa.binary(16)
_TABLE, _VERSION = b"fairbench.table", b"fairbench.schema_version"


def _fields(required: Mapping[str, pa.DataType], optional: Mapping[str, pa.DataType]) -> list[pa.Field]:
    return [pa.field(n, t, nullable=False) for n, t in required.items()] + [pa.field(n, t) for n, t in optional.items()]


_S, _I, _F = pa.string(), pa.int64(), pa.float64()
_FIELDS: Final[dict[str, list[pa.Field]]] = {
    "prompts": _fields(
        {
            "prompt_id": ID,
            "neutral_id": ID,
            "task": _S,
            "task_version": _I,
            "template_id": _S,
            "text": _S,
            "subject": _S,
            "category": _S,
        },
        {"stated": pa.map_(_S, _S), "concept": _S, "form": _S},
    ),
    "images": _fields(
        {
            "image_id": ID,
            "prompt_id": ID,
            "neutral_id": ID,
            "text": _S,
            "sample_index": _I,
            "seed": _I,
            "method": _S,
            "status": _S,
        },
        {
            "error": _S,
            "sha256": _S,
            "image": pa.struct([("bytes", pa.binary()), ("path", _S)]),
            "width": pa.int32(),
            "height": pa.int32(),
            "seconds": _F,
            "notes": pa.map_(_S, _S),
        },
    ),
    "faces": _fields(
        {"image_id": ID, "status": _S},
        {
            "face_id": ID,
            "face_index": pa.int32(),
            "bbox_xyxy": pa.list_(pa.float32(), 4),
            "landmarks5": pa.list_(pa.float32(), 10),
            "det_score": pa.float32(),
            "area_frac": pa.float32(),
            "is_primary": pa.bool_(),
            "is_central": pa.bool_(),
            "route": pa.int32(),
        },
    ),
    "labels": _fields(
        {"face_id": ID, "image_id": ID, "neutral_id": ID, "attribute": _S, "status": _S},
        {"label": _S, "prob": pa.float32(), "probs": pa.list_(pa.float32())},
    ),
    "scores": _fields(
        {"image_id": ID, "neutral_id": ID, "scorer": _S, "status": _S},
        {"value": _F, "features": pa.list_(pa.float32()), "error": _S},
    ),
    "metrics": _fields(
        {
            "run_id": _S,
            "model": _S,
            "method": _S,
            "task": _S,
            "labeller": _S,
            "metric": _S,
            "metric_version": _I,
            "attribute": _S,
            "scope": _S,
            "scope_value": _S,
            "estimate": _S,
        },
        {
            "n0": _I,
            "value": _F,
            "ci_low": _F,
            "ci_high": _F,
            "ci_method": _S,
            "floor": _F,
            "ceiling": _F,
            "calibration_sha": _S,
            "reason": _S,
            "n_requested": _I,
            "n_images": _I,
            "n_faces": _I,
            "n_excluded": _I,
            "error": _F,
            "floor_p95": _F,
            "n_prompts": _I,
        },
    ),
}
VERSIONS: Final[Mapping[str, int]] = {**dict.fromkeys(_FIELDS, 1), "metrics": 3, "images": 2, "scores": 2, "prompts": 2}
STATUSES: Final[Mapping[str, frozenset[str]]] = {
    "images": frozenset({"ok", "refused", "failed", "blank"}),
    "faces": frozenset({"ok", "no_face", "no_image", "failed"}),
    "labels": frozenset({"ok", "failed", "unclear"}),
    "scores": frozenset({"ok", "no_image", "failed"}),
}


def schema(table: str) -> pa.Schema:
    """Return the current schema of a table, its name and version in the metadata."""
    return pa.schema(_FIELDS[table], metadata={_TABLE: table.encode(), _VERSION: str(VERSIONS[table]).encode()})


def _with_columns(table: str, data: pa.Table) -> pa.Table:
    """Append the columns that the table's current version has and `data` lacks: unknown for what was written before."""
    want = schema(table)
    absent = [f for f in want if f.name not in data.column_names]
    for field in absent:
        data = data.append_column(field, pa.nulls(len(data), field.type))
    return data.select(want.names).replace_schema_metadata(want.metadata)


def _with_current_names(metrics: pa.Table) -> pa.Table:
    """Replace the names of estimates that 0.1.0 used. Metrics of third parties keep theirs: only whole names count."""
    names = pa.array([RENAMED.get(name, name) for name in metrics["metric"].to_pylist()], pa.string())
    position = metrics.schema.get_field_index("metric")
    renamed = metrics.set_column(position, metrics.schema.field(position), names)
    return _with_columns("metrics", renamed)


UPGRADES: dict[tuple[str, int], Callable[[pa.Table], pa.Table]] = {
    ("metrics", 1): lambda data: _with_columns("metrics", data),  # 2: error, floor_p95, n_prompts
    ("metrics", 2): _with_current_names,  # 3: sq is concentration
    ("images", 1): lambda data: _with_columns("images", data),  # 2: notes
    ("prompts", 1): lambda data: _with_columns("prompts", data),  # 2: concept, form
    ("scores", 1): lambda data: _with_columns("scores", data),  # 2: error
}
"""(table, version) -> function that gives the table at version + 1."""


def build(table: str, columns: Mapping[str, object]) -> pa.Table:
    """Make a checked table from columns (lists or arrays)."""
    want = schema(table)
    return check(table, pa.table([pa.array(columns[f.name], f.type) for f in want], schema=want))


def check(table: str, data: pa.Table) -> pa.Table:
    """Return `data` if it is a valid table of this kind; else raise ValueError naming the column."""
    want = schema(table)
    # Field by field: what Parquet gives back of a map has other inner names, which nothing depends on.
    if not data.schema.equals(want) or data.schema.metadata != want.metadata:
        raise ValueError(f"{table}: columns or metadata differ from schema version {VERSIONS[table]}")
    for field in want:
        if not field.nullable and data[field.name].null_count:
            raise ValueError(f"{table}.{field.name} holds nulls")
    if table in STATUSES:
        odd = set(pc.unique(data["status"]).to_pylist()) - STATUSES[table]
        if odd:
            raise ValueError(f"{table}.status holds {sorted(odd)[0]!r}")
    if table == "labels":
        _check_labels(data)
    return data


def _check_labels(data: pa.Table) -> None:
    ok = data.filter(pc.equal(data["status"], "ok"))
    if ok["label"].null_count or ok["prob"].null_count or ok["probs"].null_count:
        raise ValueError("labels: an ok row has label, prob and all class probabilities")
    flat = pc.list_flatten(ok["probs"])
    if len(flat) and not pc.all(pc.and_(pc.greater_equal(flat, -1e-6), pc.less_equal(flat, 1 + 1e-5))).as_py():
        raise ValueError("labels.probs lie outside [0, 1]")


def is_current(table: str, stored: pa.Schema, origin: str) -> bool:
    """Whether a stored table has the current version; `origin` names the file in the error.

    Raises StoreError for a table of another kind or one that a newer fairbench wrote.
    """
    return _version(table, stored, origin) == VERSIONS[table]


def upgrade(table: str, data: pa.Table, origin: str) -> pa.Table:
    """Bring a stored table to the current version, one step at a time. Raises StoreError as `is_current` does."""
    for version in range(_version(table, data.schema, origin), VERSIONS[table]):
        data = UPGRADES[table, version](data)
    return data


def _version(table: str, stored: pa.Schema, origin: str) -> int:
    meta = stored.metadata or {}
    if meta.get(_TABLE) != table.encode() or not meta.get(_VERSION, b"").isdigit():
        raise StoreError(f"{origin} is not a fairbench {table} table: remove it from the store.")
    version = int(meta[_VERSION])
    if version > VERSIONS[table]:
        raise StoreError(
            f"{origin} was written by a newer fairbench ({table} schema {version}, this one reads up to "
            f"{VERSIONS[table]}): upgrade fairbench or name another --store."
        )
    return version
