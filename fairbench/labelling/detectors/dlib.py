"""dlib's two face detectors, HOG and CNN (mmod), with its five landmarks; both work offline and on the CPU.

The wheels `dlib-bin` and `face-recognition-models` (extra `dlib`) carry the code and the weights. FairFace finds its
faces so: `model: cnn`, `upsample: 1`, `max_size: 800`, with a CNN of its own: `weights` names it. Shen et al. fall back
to the wheel's so: `model: cnn`, `upsample: 0`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, Field, model_validator

from fairbench.cards.cards import FileWeights
from fairbench.errors import MissingExtra, WeightsError
from fairbench.networks import weights
from fairbench.protocols import LATER, Params
from fairbench.types import BuildContext, Face, RgbImage

LANDMARKS = "shape_predictor_5_face_landmarks.dat"
CNN = "mmod_human_face_detector.dat"
SHA256: Final = {
    LANDMARKS: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    CNN: "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
}
"""Of the wheel's files. Keys hold none of it, so a wheel with other files is refused."""


class DlibParams(Params):
    """What a card may set.

    upsample: how many times the image is doubled, which finds smaller faces. max_size: the longer side, in pixels, to
    which every image is scaled, up or down, before detection; None: as it is. threshold: the lowest score of a face,
    in the detector's own unbounded units; the CNN gives none below 0.

    max_pixels: larger images are scaled down to so many, smaller ones stay; None: no bound. The CNN takes 1 KB of
    memory per pixel, four times that for each `upsample`, and finds no face under some 80 pixels (40 with
    `upsample: 1`). weights: another CNN than the wheel's.
    """

    model: Literal["hog", "cnn"] = "cnn"
    upsample: int = Field(1, ge=0, le=4)
    max_size: int | None = Field(None, ge=32, le=8192)
    threshold: float = 0.0
    max_pixels: int | None = Field(None, ge=4096, le=100_000_000, json_schema_extra={**LATER})
    weights: FileWeights | None = Field(None, json_schema_extra={**LATER})

    @model_validator(mode="after")
    def _reachable(self) -> DlibParams:
        if self.model == "cnn" and self.threshold < 0:
            raise ValueError("threshold: the CNN gives no face with a score below 0; use `model: hog` or 0 or more")
        if self.max_size is not None and self.max_pixels is not None:
            raise ValueError("max_pixels: `max_size` gives every image its size; leave one of the two out")
        if self.model == "hog" and self.weights is not None:
            raise ValueError("weights: they are those of the CNN; use `model: cnn`, or leave them out")
        return self


class DlibDetector:
    """Finds faces one image at a time. dlib's own loops run on one core and its output does not depend on threads.

    The device is not used: the wheel is built without CUDA.
    """

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = DlibParams

    def __init__(self, params: DlibParams, ctx: BuildContext) -> None:
        """Raises MissingExtra where the code or the weights are not installed, WeightsError for other weights than
        declared; loads nothing yet.
        """
        self._params = params
        if importlib.util.find_spec("dlib") is None:
            raise MissingExtra("The detector dlib", "dlib")
        own = params.weights
        self._landmark_file = weight_file(LANDMARKS)
        self._cnn_file = weight_file(CNN) if own is None else weights.locate(own, ctx.base_dir)

    @cached_property
    def _predictor(self) -> Any:
        return import_dlib().shape_predictor(str(self._landmark_file))

    @cached_property
    def _finder(self) -> Any:
        dlib = import_dlib()
        if self._params.model == "hog":
            return dlib.get_frontal_face_detector()
        try:
            return dlib.cnn_face_detection_model_v1(str(self._cnn_file))
        except RuntimeError as err:
            first = (str(err).strip().splitlines() or [""])[0]
            raise WeightsError(f"{self._cnn_file} is not a CNN detector that dlib can load ({first}).") from err

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return the faces of each image, best score first.

        The detector works in whole pixels of the scaled image. Boxes and landmarks are given in pixels of the image
        as it came: scaling them as `scaled_size` says and rounding gives dlib's own whole numbers back, also after
        they were stored in single precision. landmarks5: outer and inner corner of the eye on the right side of the
        image, outer and inner corner of the eye on its left, base of the nose.
        """
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: RgbImage) -> list[Face]:
        height, width = image.shape[:2]
        small = scale(image, self._params.max_size or bounded_side(height, width, self._params.max_pixels))
        sx, sy = width / small.shape[1], height / small.shape[0]
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
        detections = ((d.rect, d.confidence) for d in self._finder(image, upsample))
        return [(rect, score) for rect, score in detections if score >= threshold]


def import_dlib() -> ModuleType:
    """Return the module dlib. Raises MissingExtra where it is not installed."""
    try:
        import dlib
    except ImportError as err:
        raise MissingExtra("The package dlib", "dlib") from err
    module: ModuleType = dlib
    return module


def weight_file(name: str) -> Path:
    """Return a file of the wheel face-recognition-models.

    Raises MissingExtra where it is not installed, WeightsError where it is another file than SHA256 says.
    """
    # Located, never imported: its __init__ needs a module that current setuptools no longer have.
    spec = importlib.util.find_spec("face_recognition_models")
    path = Path(spec.origin).parent / "models" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingExtra(f"dlib's weight file {name}", "dlib")
    if weights.sha256(path) != SHA256[name]:
        raise WeightsError(
            f"{path} has sha256 {weights.sha256(path)}, not {SHA256[name]}, which stored faces stand for: install "
            "face-recognition-models 0.3.0, or name another CNN under the detector's `weights`."
        )
    return path


def bounded_side(height: int, width: int, max_pixels: int | None) -> int | None:
    """Return the longer side at which an image has at most `max_pixels` pixels; None where it has no more now."""
    if max_pixels is None or height * width <= max_pixels:
        return None
    return max(1, int(max(height, width) * math.sqrt(max_pixels / (height * width))))


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
