"""The parts of a labeller: face detectors, crops and classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fairbench.types import BuildContext, Face, LabelSchema, RgbImage


class FaceDetector(Protocol):
    """Finds the faces of images. Built as `cls(params, ctx)`."""

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return the faces of each image, highest score first; an empty list for an image without a face."""
        ...


class Crop(Protocol):
    """Cuts a face out of its image. Built as `cls(params, ctx)`.

    A crop that reads landmarks names the detectors whose landmarks it understands, as in `detectors = ("dlib",)`.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def cut(self, image: RgbImage, face: Face) -> RgbImage:
        """Return the chip at the crop's own resolution; classifiers resize it as they need it."""
        ...


class FaceClassifier(Protocol):
    """Labels chips. Built as `cls(params, ctx, declared)`.

    declared: the label schema of the labeller card, the only place where the order of labels is written. schema: the
    part of it that this classifier gives.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]
    schema: LabelSchema

    def __init__(self, params: Any, ctx: BuildContext, declared: LabelSchema) -> None: ...

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute of `schema`, class probabilities of shape (chips, K) in the declared order."""
        ...


@runtime_checkable
class DifferentiableCrop(Protocol):
    """What a crop that only cuts a rectangle may offer, so that gradients flow through it."""

    def region(self, width: int, height: int, face: Face) -> tuple[tuple[int, int, int, int], int]:
        """Return the rectangle of an image of this size (left, top, right, bottom; the last two excluded).

        With it comes the grey level, 0..255, of its pixels outside the image.
        """
        ...


@runtime_checkable
class DifferentiableClassifier(Protocol):
    """What a classifier that is a torch module may offer, so that gradients flow through it."""

    def log_probs(self, chips: Sequence[Any]) -> dict[str, Any]:
        """Return log-probabilities (chips, K) per attribute, as tensors. chips: tensors (3, height, width), 0..1."""
        ...
