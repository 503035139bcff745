"""The crop `square`: a square around the face, as in Shen et al., "Finetuning Text-to-Image Diffusion Models for
Fairness" (ICLR 2024), evaluation script; Liu et al. (arXiv 2502.03429) evaluate with the same one.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fairbench.labelling.crops.box import cut_padded
from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, RgbImage


class SquareParams(Params):
    """What a card may set.

    expand: by how much of itself the box's longer side grows (0.5 after insightface, 1.1 after dlib). clip: cut the box
    to the image first, as the package `face_recognition`, through which dlib was called, does. pad_value: grey level,
    0..255, of pixels outside the image (0 is the -1 of images in [-1, 1]).
    """

    expand: float = Field(0.5, ge=0.0, le=10.0)
    clip: bool = False
    pad_value: int = Field(0, ge=0, le=255)


class SquareCrop:
    """Makes the box square around its centre: the longer side grows by `expand` of itself, the other up to it."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = SquareParams

    def __init__(self, params: SquareParams, ctx: BuildContext) -> None:
        self._params = params

    def cut(self, image: RgbImage, face: Face) -> RgbImage:
        """Return the chip (uint8, height x width x 3). As the four edges are rounded one by one, its sides can differ
        by one pixel; the resizing that a classifier declares makes it square.
        """
        return cut_padded(image, *self.region(image.shape[1], image.shape[0], face))

    def region(self, width: int, height: int, face: Face) -> tuple[tuple[int, int, int, int], int]:
        """Return the rectangle that is cut, in whole pixels, and the grey level outside the image."""
        x1, y1, x2, y2 = face.bbox_xyxy
        if self._params.clip:
            x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        return square((x1, y1, x2, y2), self._params.expand), self._params.pad_value


def square(box: tuple[float, float, float, float], expand: float) -> tuple[int, int, int, int]:
    """Return the edges (left, top, right, bottom; whole pixels) of the expanded square, which may leave the image.

    What each side gains is split in two halves. Edges that fall on a half go to the even pixel. The sides of the box
    are taken in single precision, as detectors give their boxes, and all else in double: the last bit of either
    decides where an edge that lies on a half is rounded to.
    """
    x1, y1, x2, y2 = box
    width = float(np.float32(x2) - np.float32(x1))
    height = float(np.float32(y2) - np.float32(y1))
    if height > width:
        more_height = height * expand
        more_width = (height + more_height) - width
    else:
        more_width = width * expand
        more_height = (width + more_width) - height
    dx, dy = more_width * 0.5, more_height * 0.5
    return round(x1 - dx), round(y1 - dy), round(x2 + dx), round(y2 + dy)
