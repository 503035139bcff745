"""How images are read back by the labeller, and the renders that it is tried on. Another route: `nearest`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairbench.cards import catalog
from fairbench.cards.cards import PluginRef
from fairbench.labelling.labeller import NOT_LABELLED, Labeller
from fairbench.phantom.layout import CLASSIFIER_FILE, DETECTOR_FILE
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
    labeller = labeller_of(folder)
    labeller.load()
    return Reader(labeller)


def labeller_of(folder: Path) -> Labeller:
    """Return the labeller of a folder's two files, with the settings of the shipped labeller card `phantom`."""
    card = catalog.load_labeller("phantom").card
    route, classifier = card.routes[0], card.classifiers[0]
    detector = _with_weights(route.detector, folder / DETECTOR_FILE)
    parts = {
        "routes": [route.model_copy(update={"detector": detector})],
        "classifiers": [_with_weights(classifier, folder / CLASSIFIER_FILE)],
    }
    return Labeller(catalog.Loaded(card.model_copy(update=parts), None))


def _with_weights(part: PluginRef, path: Path) -> PluginRef:
    return part.model_copy(update={"weights": {"path": str(path.resolve())}})


def renders(
    n: int, rng: np.random.Generator, *, calm: bool = True, head: bool = True
) -> tuple[NDArray[np.uint8], Cells]:
    """Return n mannequins (n, 64, 64, 3), cells in turn 0, 1, ... 7, 0, ..., as many of each as can be.

    calm: see `sample_scene`. Without `head`, what `render` leaves.
    """
    cells = np.arange(n) % len(CELLS)
    return np.stack([draw(*CELLS[cell], sample_scene(rng, calm=calm), head=head) for cell in cells]), cells


def batches(n: int, rng: np.random.Generator, size: int = BATCH) -> Iterator[tuple[NDArray[np.uint8], Cells]]:
    """Yield `renders` of n images, `size` (a multiple of 8) at a time."""
    for start in range(0, n, size):
        yield renders(min(size, n - start), rng)
