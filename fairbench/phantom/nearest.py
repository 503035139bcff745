"""The classifier `nearest-render`: reads a mannequin by the nearest of many renders, in pixels; nothing is learned.

It shares neither weights nor training with the labeller `phantom`, so that it can judge what was trained with that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from fairbench.errors import CardError
from fairbench.labelling.classifiers import heads
from fairbench.phantom.planted import CELLS
from fairbench.phantom.reading import Cells, renders
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.protocols import Params
from fairbench.types import BuildContext, LabelSchema, RgbImage

SIDE: Final = 32
"""Images are compared at this size, half of a render's, which forgives a pixel of displacement."""
_LABELS: Final = {"gender": GENDERS, "race4": RACES}
_HEADLESS_PER_CELL: Final = 50
_AT_ONCE: Final = 512


class NearestRender:
    """Many renders of each cell, with which images are compared. calm: see `renderer.sample_scene`."""

    def __init__(
        self, rng: np.random.Generator, renders_per_cell: int = 400, *, calm: bool = True, head: bool = True
    ) -> None:
        images, _ = renders(renders_per_cell * len(CELLS), rng, calm=calm, head=head)
        self._renders = _small(images)
        self._squared_norms = _squared_norms(self._renders)

    def distances(self, images: Sequence[RgbImage] | NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return how far each image is from the nearest render of each of CELLS, (n, 8); the same in every batch.

        The root of the mean squared difference of pixels, 0..1: 1 is the distance between black and white.
        """
        squared = np.empty((len(images), len(CELLS)))
        for start in range(0, len(images), _AT_ONCE):
            batch = _small(images[start : start + _AT_ONCE])
            of_all = _squared_norms(batch)[:, None] + self._squared_norms - 2 * _products(batch, self._renders)
            squared[start : start + _AT_ONCE] = of_all.reshape(len(batch), -1, len(CELLS)).min(axis=1)
        return np.asarray(np.sqrt(squared / (3 * SIDE**2)) / 255)

    def read(self, images: NDArray[np.uint8]) -> Cells:
        """Return the cell of the nearest render of each image."""
        return np.asarray(self.distances(images).argmin(axis=1))


def _small(images: Sequence[RgbImage] | NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the images at SIDE x SIDE as rows of whole numbers, (n, SIDE x SIDE x 3), -128..127."""
    size = (SIDE, SIDE)
    rows = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)).ravel() for image in images]
    return np.stack(rows).astype(np.float32) - np.float32(128)


def _products(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the products (n, m) of rows (n, D) and (m, D) of whole numbers, -128..127, exactly.

    Single precision holds sums of up to 1,024 such products (2^24), whatever their order, and is twice as fast.
    """
    blocks = range(0, a.shape[1], 1024)
    return np.asarray(sum((a[:, i : i + 1024] @ b[:, i : i + 1024].T).astype(np.float64) for i in blocks))


def _squared_norms(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray((rows.astype(np.float64) ** 2).sum(axis=1))


class NearestRenderParams(Params):
    """What a card may set.

    renders_per_group: renders of each gender x race cell, in scenes of all kinds. spread: how fast probabilities fall
    with the distance. max_distance: an image farther than this from all renders shows no mannequin. seed: another seed
    draws other renders.
    """

    renders_per_group: int = Field(400, ge=1, le=5000)
    spread: float = Field(0.02, gt=0.0, le=1.0)
    max_distance: float = Field(0.12, gt=0.0, le=1.0)
    seed: int = Field(0, ge=0)


@functools.lru_cache(maxsize=1)
def _renders(seed: int, per_group: int) -> tuple[NearestRender, NearestRender]:
    """Return the mannequins and the bodies without a head; kept, as they take a second and several runs need them."""
    mannequins, headless = (np.random.default_rng([seed, stream]) for stream in (1, 2))
    return (
        NearestRender(mannequins, per_group, calm=False),
        NearestRender(headless, _HEADLESS_PER_CELL, calm=False, head=False),
    )


class NearestRenderClassifier:
    """P(label) is proportional to exp(-d^2 / (2 spread^2)), d being the distance of the label's nearest render.

    So the most probable labels are those of the nearest render. A chip that is farther than `max_distance` from every
    render, or nearer to a body without a head, has no label (NaN). A chip is a whole image. Raises CardError for a card
    that declares other labels than the renderer's.
    """

    version: ClassVar[int] = 1
    unclear: ClassVar[bool] = True
    Params: ClassVar[type[BaseModel]] = NearestRenderParams

    def __init__(self, params: NearestRenderParams, ctx: BuildContext, declared: LabelSchema) -> None:
        for name, labels in _LABELS.items():
            if set(declared.labels.get(name, ())) != set(labels):
                raise CardError(
                    f"Classifier nearest-render reads {name} as {', '.join(labels)}: declare these labels in the "
                    f"labeller card's attributes.{name}."
                )
        self.schema = heads.declared_part(_LABELS, declared)
        self._params = params

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute, probabilities (chips, K) in the declared order; NaN where there is no head."""
        mannequins, headless = _renders(self._params.seed, self._params.renders_per_group)
        distances = mannequins.distances(chips)
        nearest = distances.min(axis=1)
        nobody = (nearest > self._params.max_distance) | (headless.distances(chips).min(axis=1) < nearest)
        by_cell = distances.reshape(-1, len(GENDERS), len(RACES))
        probs = {}
        for axis, (name, labels) in enumerate(_LABELS.items(), start=1):
            columns = [labels.index(label) for label in self.schema.labels[name]]
            of_label = by_cell.min(axis=3 - axis)[:, columns]
            weights = np.exp((nearest[:, None] ** 2 - of_label**2) / (2 * self._params.spread**2))
            probs[name] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
            probs[name][nobody] = np.nan
        return probs
