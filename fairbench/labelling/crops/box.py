"""The crop `box`: the detector's own rectangle, with a margin."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, RgbImage


class BoxParams(Params):
    """What a card may set.

    padding: margin added on each of the four sides, as a fraction of the box's longer side. pad_value: grey level,
    0..255, of pixels outside the image.
    """

    padding: float = Field(0.0, ge=0.0, le=10.0)
    pad_value: int = Field(0, ge=0, le=255)


class BoxCrop:
    """The box as detected, its edges rounded to whole pixels (halves to the even one)."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = BoxParams

    def __init__(self, params: BoxParams, ctx: BuildContext) -> None:
        self._params = params

    def cut(self, image: RgbImage, face: Face) -> RgbImage:
        """Return the chip (height x width x 3, uint8, at least 1 x 1); it need not be square."""
        return cut_padded(image, *self.region(image.shape[1], image.shape[0], face))

    def region(self, width: int, height: int, face: Face) -> tuple[tuple[int, int, int, int], int]:
        """Return the rectangle that is cut, in whole pixels, and the grey level outside the image."""
        x1, y1, x2, y2 = face.bbox_xyxy
        margin = self._params.padding * max(x2 - x1, y2 - y1)
        edges = round(x1 - margin), round(y1 - margin), round(x2 + margin), round(y2 + margin)
        return edges, self._params.pad_value


def cut_padded(image: RgbImage, box: tuple[int, int, int, int], pad_value: int) -> RgbImage:
    """Return the pixels of `box` (left, top, right, bottom; the last two excluded) as a new array.

    Pixels outside the image have `pad_value` in all three channels. An empty box gives the one pixel at its corner,
    so that a chip always has pixels.
    """
    left, top = box[:2]
    right, bottom = max(box[2], left + 1), max(box[3], top + 1)
    chip = np.full((bottom - top, right - left, 3), pad_value, dtype=np.uint8)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x1 < x2 and y1 < y2:
        chip[y1 - top : y2 - top, x1 - left : x2 - left] = image[y1:y2, x1:x2]
    return chip
