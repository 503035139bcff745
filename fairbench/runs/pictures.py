"""The images of a finished run: a row per face with its labels, and the pixels where the store still has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fairbench.errors import FairbenchError
from fairbench.labelling.faces import counted
from fairbench.labelling.labeller import NOT_LABELLED, LabelSpace
from fairbench.runs.record import RunRecord
from fairbench.storage import pixels, schemas
from fairbench.storage.files import StoreName
from fairbench.storage.store import Store
from fairbench.types import Prompt

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

_IMAGES = ["image_id", "neutral_id", "text", "sample_index", "seed", "status", "error"]
_FACES = ["image_id", "status", "face_id", "face_index", "area_frac", "is_primary", "is_central"]
_LABELS = ["face_id", "attribute", "status", "label", "prob", "probs"]
_FIRST = ["image_id", "prompt", "subject", "prompt_id", "sample_index", "seed", "text", "status", "error"]
_FIRST += ["face", "counted"]


def table(evidence: Store, run: RunRecord, prompts: Sequence[Prompt]) -> pd.DataFrame:
    """Return a row per face of the images of these prompts, and one per image without a face.

    evidence: the run's own rows. Prompts come in the given order, their images by sample_index, faces as detected.
    """
    import pandas as pd

    space, keys = LabelSpace(run.labeller), run.keys
    neutral_ids = pa.array([prompt.neutral_id for prompt in prompts], schemas.ID)
    images = _rows(evidence, "images", keys.images, _IMAGES, "neutral_id", neutral_ids).to_pandas()
    images = images.drop_duplicates("image_id")
    face_rows = _rows(evidence, "faces", keys.faces, _FACES, "image_id", pa.array(images["image_id"], schemas.ID))
    face_rows = face_rows.append_column("counted", counted(face_rows, run.labeller.face_policy))
    faces = face_rows.select(["image_id", "status", "face_id", "face_index", "counted"]).to_pandas()
    rows = images.merge(faces, on="image_id", how="left", suffixes=("", "_of_face"))
    labels = _rows(
        evidence, "labels", keys.labels, _LABELS, "face_id", face_rows["face_id"].combine_chunks().drop_null()
    )
    rows = rows.join(_labels(labels, space), on="face_id")

    order = {prompt.neutral_id: i for i, prompt in enumerate(prompts)}
    position = rows["neutral_id"].map(order)
    rows["prompt"] = position.map({i: prompt.text for i, prompt in enumerate(prompts)})
    rows["subject"] = position.map({i: prompt.subject for i, prompt in enumerate(prompts)})
    rows["prompt_id"] = rows["neutral_id"].map(bytes.hex)
    rows["image_id"] = rows["image_id"].map(bytes.hex)
    without_face = (rows["status"] == "ok") & rows["status_of_face"].notna()
    rows["status"] = rows["status"].mask(without_face, rows["status_of_face"])
    unread = rows["image_id"].map(dict(run.unread))
    rows["error"] = rows["error"].where(rows["error"].notna(), unread)
    rows["face"] = rows["face_index"].astype("Int64")
    rows["counted"] = rows["counted"].fillna(False).astype(bool)
    rows = rows.assign(position=position).sort_values(["position", "sample_index", "image_id", "face"])
    of_labels = [name for attribute in space.card.attributes for name in _columns(attribute, space)]
    return pd.DataFrame(rows[[*_FIRST, *of_labels]]).reset_index(drop=True)


def boxes(evidence: Store, key: str) -> dict[tuple[str, int], list[float] | None]:
    """Return (image id, face) -> its box (left, top, right, bottom in pixels), None where none is known.

    key: of the run's faces.
    """
    found: dict[tuple[str, int], list[float] | None] = {}
    for _, table in evidence.scan("faces", key, ["image_id", "face_index", "bbox_xyxy"]):
        for image_id, index, box in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if index is not None:
                found.setdefault((image_id.hex(), index), box)
    return found


def _rows(store: Store, stage: str, key: str, columns: list[str], column: str, values: pa.Array) -> pa.Table:
    """Return the rows of a stage whose `column` is among `values`; several shards become one table."""
    schema = pa.schema([schemas.schema(stage).field(name) for name in columns])
    parts = [t.filter(pc.is_in(t[column], value_set=values)) for _, t in store.scan(stage, key, columns)]
    return pa.concat_tables(t.replace_schema_metadata(None) for t in parts) if parts else schema.empty_table()


def _columns(attribute: str, space: LabelSpace) -> list[str]:
    return [attribute, f"{attribute}.prob", *(f"{attribute}.prob {c}" for c in space.declared.labels[attribute])]


def _labels(labels: pa.Table, space: LabelSpace) -> pd.DataFrame:
    """Return face_id -> each attribute's label as it is counted, the probability of what was read, and of each class.

    A label that the policy's `min_prob` excludes is null; its probability stands beside it.
    """
    import pandas as pd

    columns: dict[str, pd.Series[Any]] = {}
    for attribute in space.base.labels:
        rows = labels.filter(pc.equal(labels["attribute"], attribute)).to_pandas().drop_duplicates("face_id")
        rows = rows[rows["status"] == "ok"].set_index("face_id")
        if rows.empty:
            continue
        probs = np.stack(rows["probs"].to_list()).astype(np.float64)
        words = space.base.labels[attribute]
        read = np.array([words.index(label) for label in rows["label"]])
        code = np.where(space.admitted(rows["prob"].to_numpy()), read, NOT_LABELLED)
        derived = {name: spec for name, spec in space.card.attributes.items() if spec.source == attribute}
        for name in [attribute, *derived]:
            mapping = np.arange(len(words)) if name == attribute else space.mapping(name)
            summed = probs if name == attribute else probs @ space.derivation(name)
            classes = space.declared.labels[name]
            values = [None if c == NOT_LABELLED else classes[mapping[c]] for c in code]
            columns[name] = pd.Series(values, rows.index, dtype=object)
            columns[f"{name}.prob"] = pd.Series(summed[np.arange(len(read)), mapping[read]], rows.index)
            for k, label in enumerate(classes):
                columns[f"{name}.prob {label}"] = pd.Series(summed[:, k], rows.index)
    table = pd.DataFrame(columns)
    for attribute in space.card.attributes:  # where no face has a label
        for name in _columns(attribute, space):
            if name not in table:
                table[name] = pd.Series(dtype=object if name == attribute else np.float64)
    return table


def pictures(stores: Iterable[StoreName], key: str, image_ids: Iterable[bytes]) -> Iterator[tuple[bytes, Image]]:
    """Yield these images, in the order in which these stores hold them. key: the run's image key.

    Raises FairbenchError where none holds one of them, ImageError where a file cannot be decoded.
    """
    for image_id, load in loaders(stores, key, image_ids):
        yield image_id, load()


def loaders(
    stores: Iterable[StoreName], key: str, image_ids: Iterable[bytes]
) -> Iterator[tuple[bytes, Callable[[], Image]]]:
    """Yield what decodes each of these images, see `pictures`; in whichever thread, of which several gain time."""
    looked_in, missing = list(dict.fromkeys(stores)), set(image_ids)
    for name in looked_in:
        store = Store(name, look_only=True)
        for path in _shards(store, key, missing):
            wanted = pa.array(sorted(missing & _ids(store, path)), schemas.ID)
            table = store.read("images", path, ["image_id", "image", "status", "error", "sha256"]) if wanted else None
            if table is None:
                continue
            rows = table.filter(pc.is_in(table["image_id"], value_set=wanted))
            del table
            for i in range(len(rows)):
                (row,) = rows.slice(i, 1).to_pylist()  # one by one: each is a copy of a file
                if row["image_id"] in missing:
                    missing.remove(row["image_id"])
                    yield row["image_id"], partial(_picture, row)
    if missing:
        raise FairbenchError(
            f"Image {min(missing).hex()} is in none of the stores {', '.join(map(str, looked_in))}: name the run's "
            "store (--store STORE, or fairbench.load(RUN, store=STORE)), or do the run again."
        )


def _shards(store: Store, key: str, missing: set[bytes]) -> Iterator[PurePath]:
    """Yield shards while images are missing; in the end, those that took the place of others meanwhile, too."""
    done: set[PurePath] = set()
    while missing and (new := [path for path in store.shards("images", key) if path not in done]):
        done.update(new)
        yield from new


def _picture(row: Mapping[str, Any]) -> Image:
    from PIL import Image

    return Image.fromarray(_pixels(row))


def _ids(store: Store, shard: PurePath) -> set[bytes]:
    """Return the ids of a shard's images; of what may be gigabytes of pixels, it reads the ids alone."""
    file = store.files.open(shard)
    if file is None:
        return set()
    try:
        with file:
            return set(pq.read_table(file, columns=["image_id"])["image_id"].to_pylist())
    except (OSError, pa.ArrowException):  # damaged, or moved aside by another process: the store says so when it runs
        return set()


def _pixels(row: Mapping[str, Any]) -> Any:
    """Return the pixels of a row of the table "images"; those of a file of the user's come from there."""
    name = f"stored image {row['image_id'].hex()}"
    if row["status"] != "ok":
        raise FairbenchError(f"{name} has no pixels: its status is {row['status']} ({row['error']}).")
    data, path = row["image"]["bytes"], row["image"]["path"]
    if data is not None:
        return pixels.decode(data, name)
    if path is None:
        raise FairbenchError(f"{name} has no pixels: the run has labels alone, of images that are not here.")
    content, sha256 = pixels.read(Path(path))
    if sha256 != row["sha256"]:
        raise FairbenchError(f"{path} changed since the run: restore it, or do the run again.")
    return pixels.decode(content, path)
