"""What is redrawn: images, not faces. Images of one prompt are grouped by the class counts of their faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairbench.stats.estimands import Floats, IntArray, shares

_CHUNK_CELLS = 200_000
"""Counts of one chunk of resamples: small enough for a core's cache, which every metric then reads again."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The images with a face, grouped by kind.

    kinds: (T, K), the different class-count vectors of an image. times: (P, T), how many images of a prompt have each.
    """

    kinds: IntArray
    times: IntArray

    @property
    def several(self) -> bool:
        """Whether any image has more than one face."""
        return bool((self.kinds.sum(axis=1)[self.times.any(axis=0)] > 1).any())

    @property
    def counts(self) -> IntArray:
        """Return the faces of every prompt and class (P, K)."""
        return np.asarray(self.times @ self.kinds)


Data = NDArray[np.integer] | Units
"""Counts (P, K) where no image has more than one face, else Units."""


def as_units(data: Data) -> Units:
    """Return `data` as units: plain counts (P, K) are images with one face each."""
    return data if isinstance(data, Units) else Units(np.eye(data.shape[-1], dtype=np.int64), data)


def units_of_images(prompt: IntArray, faces: IntArray, prompts: int) -> Units:
    """Return images grouped by kind. prompt: (N,), each image's prompt in 0..prompts - 1; faces: (N, K), by class.

    Images without a face are left out: they say nothing about shares, and everything here is conditional on how many
    images have one.
    """
    with_face = faces.sum(axis=1) > 0
    kinds, kind_index = np.unique(faces[with_face], axis=0, return_inverse=True)
    cell = prompt[with_face] * len(kinds) + kind_index.reshape(-1)
    return Units(kinds, np.bincount(cell, minlength=prompts * len(kinds)).reshape(prompts, len(kinds)))


def merged(kinds: IntArray, weights: Floats) -> tuple[IntArray, Floats]:
    """Return kinds (T, K) without repeats and the weights (P, T) of equal kinds added up."""
    distinct, index = np.unique(kinds, axis=0, return_inverse=True)
    members = index.reshape(-1, 1) == np.arange(len(distinct))
    return distinct, weights @ members


def resamples(data: Data, times: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Yield, in chunks (R, P, K) whose R sum to `times`, the counts of each prompt's images drawn with replacement.

    In memory the classes come first: numpy reduces over a last axis of a few classes up to 30 times faster that way.
    """
    units = as_units(data)
    images = units.times.sum(axis=1)
    odds = np.where(images[:, None] > 0, units.times / np.maximum(images, 1)[:, None], 1 / len(units.kinds))
    plain = np.array_equal(units.kinds, np.eye(len(units.kinds)))  # then the product would change nothing
    chunk = max(1, _CHUNK_CELLS // units.times.size)
    for start in range(0, times, chunk):
        drawn = rng.multinomial(images, odds, size=(min(chunk, times - start), len(odds)))
        counts = drawn if plain else drawn @ units.kinds
        yield np.moveaxis(np.ascontiguousarray(np.moveaxis(counts, -1, 0)), 0, -1)


def bootstrap_task_means(
    metrics: Mapping[str, Callable[[Floats], Floats]], data: Data, times: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Return, for each metric of shares, the task mean (times,) of every resample of the images ("this list").

    All metrics see the same resamples. A prompt without a face is left out; NaN where none is left. The spread of the
    draws is the standard error of a metric. Their percentiles are no interval for a metric with a chance floor, such as
    rd: a resample of a fair model's images is less fair than the model.
    """
    means: dict[str, list[Floats]] = {name: [] for name in metrics}
    for counts in resamples(data, times, rng):
        p = shares(counts)
        for name, metric in metrics.items():
            values = metric(p)
            mean = values.mean(axis=-1)
            if np.isnan(mean).any():  # a look at the means is cheaper than one at all values
                present = ~np.isnan(values)
                used = present.sum(axis=-1)
                total = np.where(present, values, 0.0).sum(axis=-1)
                mean = np.where(used > 0, total / np.maximum(used, 1), np.nan)
            means[name].append(mean)
    return {name: np.concatenate(parts) for name, parts in means.items()}
