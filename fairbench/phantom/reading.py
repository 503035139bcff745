"""How images are read back: by the labeller, and by another route that shares nothing with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fairbench.labelling.labeller import NOT_LABELLED, Labeller
from fairbench.phantom import measure
from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import draw, sample_scene

Cells = NDArray[np.int64]
"""Indices into planted.CELLS, shape (images,); NOBODY where no face was found."""

NOBODY = NOT_LABELLED
BATCH = 64


class Reader:
    """The phantom's labeller, read as every run reads it."""

    def __init__(self, labeller: Labeller) -> None:
        self.labeller = labeller

    def read(self, images: NDArray[np.uint8]) -> Cells:
        """Return the cell that each image (n, side, side, 3) is read as."""
        reading = self.labeller.read(list(images), one_per_image=True)
        return reading.by_image(self.labeller.classes_of(("gender", "race4"), reading.codes), len(images))


def reader(folder: Path) -> Reader:
    """Load the labeller's two files from a folder. Raises WeightsError."""
    labeller = measure.labeller(folder)
    labeller.load()
    return Reader(labeller)


def renders(n: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Cells]:
    """Return n calm mannequins (n, 64, 64, 3), cells in turn 0, 1, ... 7, 0, ..., as many of each as can be."""
    cells = np.arange(n) % len(CELLS)
    return np.stack([draw(*CELLS[cell], sample_scene(rng, calm=True)) for cell in cells]), cells


def batches(n: int, rng: np.random.Generator, size: int = BATCH) -> Iterator[tuple[NDArray[np.uint8], Cells]]:
    """Yield `renders` of n images, `size` (a multiple of 8) at a time."""
    for start in range(0, n, size):
        yield renders(min(size, n - start), rng)


class NearestRender:
    """Reads an image as the cell of the nearest of many renders, in pixels: no network, nothing learned.

    Distances are Euclidean over images halved in size, which forgives a pixel of displacement.
    """

    def __init__(self, rng: np.random.Generator, renders_a_cell: int = 400) -> None:
        images, self._cells = renders(renders_a_cell * len(CELLS), rng)
        self._bank = _halved(images)
        self._norms = (self._bank**2).sum(axis=1)

    def read(self, images: NDArray[np.uint8]) -> Cells:
        """Return the cell of the nearest render of each image."""
        rows = _halved(images)
        return np.asarray(self._cells[(self._norms - 2 * rows @ self._bank.T).argmin(axis=1)])


def _halved(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = [np.asarray(Image.fromarray(image).reduce(2), dtype=np.float32).ravel() for image in images]
    return np.stack(small) / np.float32(255)
