"""How images are read back: by the labeller, and by another route that shares nothing with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fairbench.classifiers.onnx import OnnxClassifier
from fairbench.crops.box import BoxCrop, BoxParams
from fairbench.detectors.phantom import PhantomDetector
from fairbench.phantom import measure
from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import RACES, draw, sample_scene
from fairbench.types import BuildContext

Cells = NDArray[np.int64]
"""Indices into planted.CELLS, shape (images,); NOBODY where no face was found."""

NOBODY = -1
BATCH = 64


@dataclass(frozen=True)
class Reader:
    """The phantom's labeller: the same detector, crop and classifier that a run uses."""

    detector: PhantomDetector
    classifier: OnnxClassifier

    def read(self, images: NDArray[np.uint8]) -> Cells:
        """Return the cell that each image (n, side, side, 3) is read as."""
        found = self.detector.detect(list(images))
        crop = BoxCrop(BoxParams(), BuildContext())
        hits = [i for i, faces in enumerate(found) if faces]
        cells = np.full(len(images), NOBODY)
        probs = self.classifier.classify([crop.cut(images[i], found[i][0]) for i in hits])
        if hits:
            cells[hits] = probs["gender"].argmax(axis=1) * len(RACES) + probs["race4"].argmax(axis=1)
        return cells


def reader(folder: Path) -> Reader:
    """Load the labeller's two files from a folder."""
    from fairbench.phantom.train_labeller import CLASSIFIER_FILE, DETECTOR_FILE

    return Reader(*measure.load(folder / DETECTOR_FILE, folder / CLASSIFIER_FILE))


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
