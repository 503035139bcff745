"""scores: one pass of a scorer over the images that it has not seen; then one value over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench import schemas
from fairbench.errors import ImageError
from fairbench.protocols import Scorer
from fairbench.stages.ids import IdIndex
from fairbench.stages.progress import Progress, stage
from fairbench.stages.reading import ImageReader, ImageRow
from fairbench.store import Store
from fairbench.types import RgbImage

BATCH = 32
PARCEL = 256


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer said of a run: features (images, D) ordered by image_id, with each image's neutral prompt.

    statuses: how many images were scored, were missing, or could not be read.
    """

    features: NDArray[np.float32]
    neutral_ids: list[bytes]
    statuses: Counter[str]


def score(
    store: Store,
    key: str,
    name: str,
    scorer: Scorer,
    rows: Sequence[ImageRow],
    prompts: Mapping[bytes, str],
    progress: Progress,
) -> None:
    """Score the images that the store lacks. `prompts`: neutral prompt id -> text, against which images are scored.

    A rewritten prompt is not what is asked for: alignment is with the task's own prompt, so that methods compare.
    """
    have = store.ids("scores", key)
    todo = [r for r in rows if r.request.image_id not in have]
    reader = ImageReader(store)
    with stage(progress, name, len(todo)) as bar:
        for start in range(0, len(todo), PARCEL):
            parcel = todo[start : start + PARCEL]
            missing = [(r, "no_image", None) for r in parcel if r.status != "ok"]
            found: list[tuple[ImageRow, str, list[float] | None]] = [*missing]
            batch: list[tuple[ImageRow, RgbImage]] = []
            for row, image in reader.stream([r for r in parcel if r.status == "ok"]):
                if not isinstance(image, ImageError):  # a read error is told by the labels; it is not stored
                    batch.append((row, image))
                if len(batch) == BATCH:
                    found += _features(scorer, batch, prompts)
                    batch = []
                bar.advance(1)
            found += _features(scorer, batch, prompts)
            store.write("scores", key, _table(name, found))
            bar.advance(len(missing))


def _features(
    scorer: Scorer, batch: Sequence[tuple[ImageRow, RgbImage]], prompts: Mapping[bytes, str]
) -> list[tuple[ImageRow, str, list[float] | None]]:
    if not batch:
        return []
    values = scorer.features([i for _, i in batch], [prompts[r.request.neutral_id] for r, _ in batch])
    return [(row, "ok", value.tolist()) for (row, _), value in zip(batch, values, strict=True)]


def _table(name: str, found: Sequence[tuple[ImageRow, str, list[float] | None]]) -> pa.Table:
    return schemas.build(
        "scores",
        {
            "image_id": [r.request.image_id for r, _, _ in found],
            "neutral_id": [r.request.neutral_id for r, _, _ in found],
            "scorer": [name] * len(found),
            "status": [s for _, s, _ in found],
            "value": [f[0] if f is not None and len(f) == 1 else None for _, _, f in found],
            "features": [f for _, _, f in found],
        },
    )


def collect(store: Store, key: str, rows: Sequence[ImageRow]) -> Scores:
    """Return the features of a run's images, ordered by image_id: the same order however they were made."""
    wanted = IdIndex(pa.array([r.request.image_id for r in rows], schemas.ID))
    found: dict[bytes, tuple[bytes, str, list[float]]] = {}
    names = ("image_id", "neutral_id", "status", "features")
    for _, table in store.scan("scores", key, names):
        kept = table.filter(wanted.known(table["image_id"]))
        for image_id, *rest in zip(*(kept[c].to_pylist() for c in names), strict=True):
            found.setdefault(image_id, (rest[0], rest[1], rest[2]))
    scored = [found[i] for i in sorted(found) if found[i][1] == "ok"]
    features = np.array([f for _, _, f in scored], dtype=np.float32)
    return Scores(features, [n for n, _, _ in scored], Counter(status for _, status, _ in found.values()))
