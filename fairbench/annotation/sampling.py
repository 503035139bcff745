"""A random sample of a run's images per prompt: those without a face too, drawn alike or by strata of the reading.

One person is asked about per image: the face that the labeller's policy counts, or the largest where it counts all (as
`calibrate` takes it). An image in which the run counts no face is asked about as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fairbench import keys
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import NOT_LABELLED, LabelSpace
from fairbench.measure import gather
from fairbench.runs import evidence
from fairbench.runs.result import Run
from fairbench.stats import designs
from fairbench.storage import schemas
from fairbench.storage.ids import IntArray
from fairbench.storage.store import Store

FILE: Final = "sample.parquet"
UNREAD: Final = "no label"
"""The stratum of images on which the run has no label: without a face, or read with too small a probability."""
SCHEMA: Final = pa.schema(
    [
        ("item", pa.string()),
        ("run_id", pa.string()),
        ("image_id", pa.string()),
        ("prompt_id", pa.string()),
        ("sample_index", pa.int64()),
        ("stratum", pa.string()),
        ("stratum_images", pa.int64()),
        ("stratum_sampled", pa.int64()),
        ("inclusion_probability", pa.float64()),
        ("face_id", pa.string()),
        ("face_box", pa.list_(pa.float32(), 4)),
    ]
)
"""Columns of sample.parquet. item: the opaque name that annotators see. stratum: "" without stratification.
stratum_images, stratum_sampled: N_h and n_h within the prompt of the run. face_id, face_box (left, top, right, bottom
in pixels): the face that is asked about; null where the run counts none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The N images of a run that can be shown, prompt by prompt. face: (N,) index into face_ids, -1 without one.

    stratum: (N,) words.
    """

    image_ids: list[bytes]
    neutral_ids: list[bytes]
    sample_index: list[int]
    face: IntArray
    face_ids: list[bytes]
    boxes: dict[bytes, list[float]]
    stratum: list[str]


def sample(runs: Sequence[Run], per_prompt: int, seed: int, stratify: str | None) -> pa.Table:
    """Draw images of every prompt of every run; what is drawn of one depends on no other.

    Raises FairbenchError where per_prompt is too small for the strata of a prompt.
    """
    return pa.concat_tables(draw(run, frame(run, stratify), per_prompt, seed) for run in runs)


def draw(run: Run, images: Frame, per_prompt: int, seed: int) -> pa.Table:
    """Draw images of every prompt of one run; see `sample`."""
    by_prompt: dict[bytes, list[int]] = {}
    for i, neutral_id in enumerate(images.neutral_ids):
        by_prompt.setdefault(neutral_id, []).append(i)
    rows: list[dict[str, Any]] = []
    for neutral_id, members in by_prompt.items():
        rows += _of_prompt(run, images, neutral_id, members, per_prompt, seed)
    return pa.Table.from_pylist(rows, SCHEMA)


def _of_prompt(
    run: Run, images: Frame, neutral_id: bytes, members: Sequence[int], per_prompt: int, seed: int
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(int.from_bytes(keys.digest("sample", [seed, run.id, neutral_id])))
    names = sorted({images.stratum[i] for i in members})
    strata = [[i for i in members if images.stratum[i] == name] for name in names]
    sizes = [len(stratum) for stratum in strata]
    try:
        drawn = designs.allocate(sizes, per_prompt)
    except ValueError as err:
        raise FairbenchError(
            f"--per-prompt {per_prompt} is too few: a prompt of {run.folder} has {len(names)} strata "
            f"({', '.join(names)}), and each needs two images; raise it, or leave --stratify out."
        ) from err
    rows = []
    for name, stratum, n in zip(names, strata, drawn.tolist(), strict=True):
        for i in sorted(rng.permutation(stratum)[:n].tolist()):
            face = images.face_ids[images.face[i]] if images.face[i] >= 0 else None
            rows.append(
                {
                    "item": keys.digest("item", [seed, run.id, images.image_ids[i]]).hex()[:12],
                    "run_id": run.id,
                    "image_id": images.image_ids[i].hex(),
                    "prompt_id": neutral_id.hex(),
                    "sample_index": images.sample_index[i],
                    "stratum": name,
                    "stratum_images": len(stratum),
                    "stratum_sampled": n,
                    "inclusion_probability": n / len(stratum),
                    "face_id": None if face is None else face.hex(),
                    "face_box": None if face is None else images.boxes[face],
                }
            )
    return rows


def frame(run: Run, stratify: str | None) -> Frame:
    """Return the images of a run that have pixels, each with the face that is asked about."""
    store, space = Store(run.folder / evidence.FOLDER, look_only=True), LabelSpace(run.record.labeller)
    order = {p.neutral_id: i for i, p in enumerate(evidence.read_prompts(run.folder))}
    columns = ["image_id", "neutral_id", "sample_index", "status"]
    rows = {
        row["image_id"]: row
        for _, table in store.scan("images", run.record.keys.images, columns)
        for row in table.to_pylist()
        if row["status"] == "ok" and row["image_id"].hex() not in run.record.unread and row["neutral_id"] in order
    }
    if not rows:
        raise FairbenchError(f"{run.folder} has no image that can be shown: name another run.")
    images = sorted(rows.values(), key=lambda r: (order[r["neutral_id"]], r["sample_index"], r["image_id"]))
    image_ids = pa.array([r["image_id"] for r in images], schemas.ID)
    policy = space.card.face_policy.one_per_image()
    faces_key, labels_key = run.record.keys.faces, run.record.keys.labels
    reading, ids = gather.read(store, space, faces_key, labels_key, image_ids, policy)
    face = reading.by_image(np.arange(len(ids)), len(images))
    stratum = [""] * len(images)
    if stratify is not None:
        read = reading.by_image(reading.codes[stratify], len(images))
        labels = space.declared.labels[stratify]
        stratum = [UNREAD if code == NOT_LABELLED else labels[code] for code in read.tolist()]
    return Frame(
        image_ids=[r["image_id"] for r in images],
        neutral_ids=[r["neutral_id"] for r in images],
        sample_index=[r["sample_index"] for r in images],
        face=face,
        face_ids=ids.to_pylist(),
        boxes=_boxes(store, faces_key, ids),
        stratum=stratum,
    )


def _boxes(store: Store, faces_key: str, face_ids: pa.Array) -> dict[bytes, list[float]]:
    boxes: dict[bytes, list[float]] = {}
    for _, table in store.scan("faces", faces_key, ["face_id", "bbox_xyxy"]):
        for row in table.filter(pc.is_in(table["face_id"], value_set=face_ids)).to_pylist():
            boxes.setdefault(row["face_id"], row["bbox_xyxy"])
    return boxes


def read(folder: Path) -> pa.Table:
    """Return the sample of an annotation. Raises FairbenchError where the file is absent or not as it was written."""
    path = folder / FILE
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as err:
        raise FairbenchError(
            f"{path} cannot be read ({str(err).splitlines()[0]}): restore it; without it nobody knows which image "
            "an answer is about."
        ) from err
    if not table.schema.equals(SCHEMA):
        raise FairbenchError(f"{path} is not as fairbench wrote it: restore it, or annotate again.")
    return table
