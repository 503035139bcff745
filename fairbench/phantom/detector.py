"""The detector `phantom`: a small network that finds the one mannequin of an image, and whether it has a head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from fairbench.cards.cards import FileWeights
from fairbench.networks.onnx import session
from fairbench.networks.weights import locate
from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, RgbImage

SIDE = 64
"""The network sees every image at this size, in pixels."""
_BATCH = 256


class PhantomDetectorParams(Params):
    """What a card may set. threshold: the lowest probability of a head at which a face is reported."""

    weights: FileWeights
    threshold: float = Field(0.5, ge=0.0, le=1.0)


class PhantomDetector:
    """At most one face per image. Its box holds headwear, head and shoulders: all that the classifier has to see."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = PhantomDetectorParams

    def __init__(self, params: PhantomDetectorParams, ctx: BuildContext) -> None:
        self._params, self._ctx = params, ctx

    @cached_property
    def _session(self) -> Any:
        return session(locate(self._params.weights, self._ctx.base_dir), self._ctx.device)

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return no face or one per image, in the image's own pixels. Raises WeightsError on first use."""
        faces: list[list[Face]] = []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            presence, boxes = self._session.run(["presence", "box"], {"image": as_input(batch)})
            faces += [self._faces(*row) for row in zip(batch, presence, boxes, strict=True)]
        return faces

    def _faces(self, image: RgbImage, presence: np.float32, box: NDArray[np.float32]) -> list[Face]:
        if presence < self._params.threshold:
            return []
        height, width = image.shape[:2]
        x1, y1, x2, y2 = (float(edge) * side for edge, side in zip(box, (width, height) * 2, strict=True))
        return [Face((x1, y1, x2, y2), float(presence))]


def as_input(images: Sequence[RgbImage]) -> NDArray[np.float32]:
    """Return the images as the network takes them: float32 (n, 3, SIDE, SIDE), RGB, 0..1."""
    resized = [_resized(image) for image in images]
    return np.stack(resized).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def _resized(image: RgbImage) -> RgbImage:
    if image.shape[:2] == (SIDE, SIDE):
        return image
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.uint8)
