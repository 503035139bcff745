"""The two tables of a dataset folder: what is known of every face, and the pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.display import dictionary
from fairbench.exporting.job import Job
from fairbench.reporting import gallery
from fairbench.runs import evidence
from fairbench.runs.result import Run
from fairbench.storage import pixels

if TYPE_CHECKING:
    import pandas as pd

LABELS: Final = "data/labels.parquet"
IMAGES: Final = "data/images.parquet"
OF_IMAGES: Final = ["image_id", "prompt", "subject", "category", "prompt_id", "sample_index", "seed", "text"]
"""Columns that both tables have."""
_TYPES: Final = {
    "sample_index": pa.int64(),
    "seed": pa.int64(),
    "face": pa.int32(),
    "counted": pa.bool_(),
    "box": pa.list_(pa.float32()),
}
_ROWS: Final = 32
"""Pictures of a row group: what is held in memory."""


def labels(run: Run) -> pd.DataFrame:
    """Return `run.images()` with the prompts' categories and the faces' boxes: a row per face, or per image without.

    box: left, top, right, bottom in pixels; None where the table of labels names none.
    """
    table = run.images()
    boxes = run.boxes()
    categories = {prompt.neutral_id.hex(): prompt.category for prompt in evidence.read_prompts(run.folder)}
    faces = zip(table["image_id"], table["face"], strict=True)
    table.insert(list(table).index("subject") + 1, "category", table["prompt_id"].map(categories))
    table.insert(list(table).index("counted") + 1, "box", [boxes.get(face) for face in faces])
    if gallery.of_files(run):
        table["error"] = table["error"].where(table["error"].isna(), gallery.NOT_USED)
    return table


def meanings(attributes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return column -> what it holds, for all columns of both tables. attributes: attribute -> its labels."""
    words = dict(dictionary.TABLES["run.images(PROMPT)"][1])
    label, prob = words.pop("ATTRIBUTE"), words.pop("ATTRIBUTE.prob")
    found = {
        **words,
        "image_id": "the image, as both tables name it",
        "category": dictionary.PROMPT_COLUMNS["category"],
        "box": "left, top, right and bottom of the face, in pixels",
        "image": "the picture, as PNG",
        "width": "its width in pixels",
        "height": "its height in pixels",
    }
    for name, classes in attributes.items():
        found |= {name: f"perceived {name}: {label}", f"{name}.prob": prob}
        found |= {f"{name}.prob {of_class}": f"probability of {of_class}" for of_class in classes}
    return found


def write_labels(table: pd.DataFrame, path: Path) -> None:
    """Write the table of `labels` as Parquet: text, whole numbers, probabilities as float64."""
    columns = {}
    for name in table.columns:
        text = pa.float64() if table[name].dtype == np.float64 else pa.string()
        columns[name] = pa.array(table[name], _TYPES.get(name, text), from_pandas=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, write_page_checksum=True)


def write_images(job: Job, table: pd.DataFrame, path: Path) -> int:
    """Write every picture as a PNG without metadata, in the order of the store; return how many there are.

    A few pictures are in memory at a time. Raises FairbenchError where the run's store is gone.
    """
    one_per_image = table.drop_duplicates("image_id").set_index("image_id", drop=False)
    drawn = one_per_image[one_per_image["status"].isin(("ok", "no_face"))]
    rows = dict(zip(drawn["image_id"], drawn[OF_IMAGES].to_dict("records"), strict=True))
    schema = _schema()
    path.parent.mkdir(parents=True, exist_ok=True)
    # PNG bytes do not compress further.
    compression = {name: "NONE" if name.startswith("image.") else "SNAPPY" for name in _leaves(schema)}
    with (
        job.progress.stage("pictures", len(rows)) as bar,
        pq.ParquetWriter(path, schema, compression=compression, use_dictionary=False, write_page_checksum=True) as out,
    ):
        batch: list[dict[str, Any]] = []
        for row in _with_pictures(job.content.run, rows):
            batch.append(row)
            if len(batch) == _ROWS:
                out.write_table(pa.Table.from_pylist(batch, schema))
                batch.clear()
            bar.advance()
        if batch:
            out.write_table(pa.Table.from_pylist(batch, schema))
    return len(rows)


def _with_pictures(run: Run, rows: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for image_id, image in run.pictures(map(bytes.fromhex, rows)):
        name = image_id.hex()
        data = pixels.encode(pixels.from_pil(image))
        yield {
            **rows[name],
            "image": {"bytes": data, "path": f"{name}.png"},
            "width": image.width,
            "height": image.height,
        }


def _schema() -> pa.Schema:
    """Return the columns of the pictures. The metadata says to `datasets` that `image` is a picture."""
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {name: _TYPES.get(name, pa.string()) for name in OF_IMAGES}
    columns = {"image": picture, **columns, "width": pa.int32(), "height": pa.int32()}
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    return pa.schema(columns.items(), metadata={"huggingface": json.dumps(features)})


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of a schema's columns as Parquet names them."""
    names = []
    for field in schema:
        inner = (
            [f"{field.name}.{child.name}" for child in field.type] if pa.types.is_struct(field.type) else [field.name]
        )
        names += inner
    return names
