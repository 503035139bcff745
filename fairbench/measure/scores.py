"""A scorer's features of a run, read from the store in one order, and the values computed from them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench import contracts, registry
from fairbench.protocols import Scorer
from fairbench.storage import schemas
from fairbench.storage.ids import IdIndex
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store


@dataclass(frozen=True, slots=True)
class Scores:
    """A scorer's results on a run: features (images, D) ordered by image_id, with each image's neutral prompt.

    statuses: how many images were scored ("ok"), are missing ("no_image"), or failed. errors: why these failed.
    """

    features: NDArray[np.float32]
    neutral_ids: list[bytes]
    statuses: Counter[str]
    errors: list[str] = field(default_factory=list)


def summarise(scorer: Scorer, features: NDArray[np.float32]) -> dict[str, float | None]:
    """Return a scorer's values over images. Raises PluginError where it raises or returns anything else."""
    title = registry.title("scorers", scorer.spec.name)
    with contracts.guard(title):
        return contracts.summary(title, scorer.summarise(features), scorer.spec.values)


def collect(store: Store, key: str, rows: Sequence[ImageRow]) -> Scores:
    """Return the features of a run's images, ordered by image_id: the same order however they were made.

    A stored value that is no finite number counts as failed.
    """
    images = IdIndex(pa.array([r.request.image_id for r in rows], schemas.ID))
    by_image: dict[bytes, tuple[bytes, str, NDArray[np.float32], str | None]] = {}
    names = ("image_id", "neutral_id", "status", "features", "error")
    for _, table in store.scan("scores", key, names):
        rows_of_run = table.filter(images.contains(table["image_id"])).select(names)
        wide = rows_of_run["features"].combine_chunks()
        # Views, and no lists: an embedding of two thousand numbers is thirty times as large as Python's numbers.
        flat, offsets = wide.values.to_numpy(), wide.offsets.to_numpy()
        features_of = [flat[start:stop] for start, stop in itertools.pairwise(offsets)]
        columns = (rows_of_run[name].to_pylist() for name in ("image_id", "neutral_id", "status", "error"))
        for image_id, neutral_id, status, error, values in zip(*columns, features_of, strict=True):
            if status == "ok" and not np.isfinite(values).all():
                status, error = "failed", "the stored values are not finite numbers"
            by_image.setdefault(image_id, (neutral_id, status, values, error))
    scored = [by_image[i] for i in sorted(by_image) if by_image[i][1] == "ok"]
    features = np.array([values for _, _, values, _ in scored], dtype=np.float32)
    errors = [str(error) for _, status, _, error in by_image.values() if status == "failed"]
    statuses = Counter(status for _, status, _, _ in by_image.values())
    return Scores(features, [neutral_id for neutral_id, _, _, _ in scored], statuses, errors)
