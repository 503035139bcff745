"""What a run's embeddings say of its perceived groups, computed once from the store: variety, and KID from a reference.

Embeddings are too large for a run's evidence; what was computed of them is kept there, in FILE.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairbench.display.json_values import plain
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure import gather
from fairbench.runs.quality import FILE, GroupQuality
from fairbench.runs.reference_run import Reference
from fairbench.runs.spec import RunSpec
from fairbench.stats import kid, variety
from fairbench.stats.estimands import IntArray
from fairbench.storage import atomic, schemas
from fairbench.storage.ids import IdIndex
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store

_FEWEST_BLOCKS: Final = 5
_MOST_BLOCKS: Final = 20
_BLOCKS: Final = 10
"""Blocks of images where there are fewer prompts than _FEWEST_BLOCKS."""


def write(
    spec: RunSpec, rows: Sequence[ImageRow], space: LabelSpace, store: Store, folder: Path, reference: Reference | None
) -> None:
    """Write what a run's embeddings say, and what its reference said, into its evidence; nothing where both lack.

    folder: of the evidence. Raises StoreError.
    """
    found: dict[str, Any] = {"variety": [], "kid": []}
    embedders = [s for s in spec.scorers if s.key and s.plugin.spec.embeds]
    if embedders:
        images = Images(store, space, spec.faces_key, spec.labels_key, rows)
        for scorer in embedders:
            at, vectors = embeddings(store, str(scorer.key), images.ids)
            if len(at):
                found["variety"] += _variety(scorer.name, vectors, images, at)
                found["kid"] += [] if reference is None else _kid(scorer.name, vectors, images, at, reference)
    if embedders or reference is not None:
        content = {**found, "reference": None if reference is None else reference.source}
        content["gaps"] = [] if reference is None else [asdict(gap) for gap in reference.gaps]
        atomic.write_text(folder / FILE, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


class Images:
    """A run's images in the order of their ids, with prompt (N,) and, for each attribute, class (N,).

    The class is that of all counted faces of an image; -1 where they differ, lack a label, or are none.
    """

    def __init__(
        self, store: Store, space: LabelSpace, faces_key: str, labels_key: str, rows: Sequence[ImageRow]
    ) -> None:
        ordered = sorted((r.request.image_id, r.request.neutral_id) for r in rows)
        self.ids = pa.array([image for image, _ in ordered], schemas.ID)
        prompts = {p: i for i, p in enumerate(sorted({prompt for _, prompt in ordered}))}
        self.prompt = np.array([prompts[prompt] for _, prompt in ordered], dtype=np.int64)
        self.labels = dict(space.declared.labels)
        self.crosses = [tuple(names) for names in space.card.crosses]
        reading, _ = gather.read(store, space, faces_key, labels_key, self.ids)
        self.code = {name: reading.by_image(codes, len(ordered)) for name, codes in reading.codes.items()}

    @property
    def block(self) -> IntArray:
        """Prompts, several together where they are many; equal parts of the images, where prompts are too few."""
        enough = len(np.unique(self.prompt)) >= _FEWEST_BLOCKS
        return self.prompt % _MOST_BLOCKS if enough else np.arange(len(self.prompt), dtype=np.int64) % _BLOCKS


def embeddings(store: Store, key: str, ids: pa.Array) -> tuple[IntArray, NDArray[np.float32]]:
    """Return which of these images have an embedding (n,), in their order, and the embeddings (n, D)."""
    index, seen = IdIndex(ids), np.zeros(len(ids), dtype=bool)
    found: NDArray[np.float32] | None = None
    for _, table in store.scan("scores", key, ["image_id", "status", "features"]):
        image = index.find(table["image_id"])
        ok = np.asarray(pc.equal(table["status"], "ok").to_numpy(zero_copy_only=False), dtype=bool)
        rows = np.flatnonzero(ok & (image >= 0))
        rows = rows[~seen[image[rows]]]
        if not len(rows):
            continue
        values = table["features"].take(pa.array(rows)).combine_chunks()
        vectors = values.flatten().to_numpy().reshape(len(rows), -1).astype(np.float32)
        if found is None:
            found = np.zeros((len(ids), vectors.shape[1]), dtype=np.float32)
        found[image[rows]], seen[image[rows]] = vectors, True
    if found is None:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32)
    seen &= np.isfinite(found).all(axis=1)
    return np.flatnonzero(seen), found[seen]


def _variety(name: str, vectors: NDArray[np.float32], images: Images, at: IntArray) -> Iterator[dict[str, Any]]:
    units = variety.unit(vectors.astype(np.float64))
    for attribute, labels in images.labels.items():
        for measure, of in (("distance", variety.distances), ("vendi", variety.vendis)):
            found = of(units, images.prompt[at], images.code[attribute][at], len(labels))
            for label, each in zip(labels, found, strict=True):
                yield asdict(
                    GroupQuality(
                        name, attribute, label, each.contrast, math.nan, measure, each.value, each.others, each.size
                    )
                )


def _kid(
    name: str, vectors: NDArray[np.float32], images: Images, at: IntArray, reference: Reference
) -> Iterator[dict[str, Any]]:
    """Yield the distance from the reference at the run's shares of each attribute and cross that both have."""
    store, key = reference.embeddings_of(name)
    record = reference.run.record
    others = Images(store, reference.run.counts.labeller, record.keys.faces, record.keys.labels, reference.run.rows)
    other_at, other_vectors = embeddings(store, key, others.ids)
    shared = [a for a in images.labels if a in others.labels]
    codes: dict[str, tuple[IntArray, IntArray]] = {}
    for attribute in shared:
        labels = list(images.labels[attribute])
        # The reference may declare its classes in another order, or others.
        translated = np.array([labels.index(x) if x in labels else -1 for x in others.labels[attribute]] + [-1])
        codes[attribute] = images.code[attribute][at], translated[others.code[attribute][other_at]]
    for names in images.crosses:
        if set(names) <= set(shared):
            sizes = [len(images.labels[name]) for name in names]
            codes[" x ".join(names)] = _crossed(names, codes, sizes, 0), _crossed(names, codes, sizes, 1)
    x, y = vectors.astype(np.float64), other_vectors.astype(np.float64)
    for attribute, groups in codes.items():
        found = kid.kid(x, y, groups, (images.block[at], others.block[other_at]))
        yield {"scorer": name, "attribute": attribute, **asdict(found)}


def _crossed(
    names: Sequence[str], codes: Mapping[str, tuple[IntArray, IntArray]], sizes: Sequence[int], side: int
) -> IntArray:
    """Return the class of a cross, -1 where an attribute has none. side: 0 of the run, 1 of the reference."""
    of_names = [codes[name][side] for name in names]
    unknown = np.any([code < 0 for code in of_names], axis=0)
    crossed = np.ravel_multi_index([np.maximum(code, 0) for code in of_names], tuple(sizes))
    return np.where(unknown, -1, crossed)
