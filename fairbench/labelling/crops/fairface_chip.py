"""The crop `fairface-chip`: the upright, aligned chip that FairFace's classifiers were trained on (WACV 2021)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fairbench.errors import CardError
from fairbench.labelling.detectors.dlib import import_dlib, scale
from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, RgbImage


class FairFaceChipParams(Params):
    """What a card may set; the defaults are FairFace's.

    size: side of the chip, in pixels. padding: margin around the face, as a fraction of the aligned face's side.
    max_size: the longer side to which the image is scaled before the cut; the same as the detector's.
    """

    size: int = Field(300, ge=16, le=2048)
    padding: float = Field(0.25, ge=0.0, le=4.0)
    max_size: int | None = Field(800, ge=32, le=8192)


class FairFaceChip:
    """Turns, scales and cuts the face so that its five landmarks lie where dlib's mean face has them.

    It needs the landmarks of the detector `dlib`: other detectors put other points in another order.
    """

    version: ClassVar[int] = 1
    detectors: ClassVar[tuple[str, ...]] = ("dlib",)
    Params: ClassVar[type[BaseModel]] = FairFaceChipParams

    def __init__(self, params: FairFaceChipParams, ctx: BuildContext) -> None:
        """Raises MissingExtra where dlib is not installed."""
        self._params = params
        self._dlib = import_dlib()

    def cut(self, image: RgbImage, face: Face) -> RgbImage:
        """Return the chip, size x size x 3 (uint8), black outside the image. Raises CardError without landmarks."""
        if face.landmarks5 is None:
            raise CardError(
                "The crop fairface-chip needs landmarks, and its detector gave none: use the detector dlib."
            )
        dlib, small = self._dlib, scale(image, self._params.max_size)
        factor = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
        # dlib found the face in whole pixels of the scaled image; rounding gives exactly these back (see DlibDetector).
        corners = np.rint(np.reshape(face.bbox_xyxy, (2, 2)) * factor).astype(int).ravel().tolist()
        points = np.rint(np.reshape(face.landmarks5, (5, 2)) * factor).astype(int).tolist()
        shape = dlib.full_object_detection(dlib.rectangle(*corners), [dlib.point(x, y) for x, y in points])
        chip: RgbImage = dlib.get_face_chip(small, shape, size=self._params.size, padding=self._params.padding)
        return chip
