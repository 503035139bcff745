"""The detectors of insightface's model packs (SCRFD), run by insightface's own code.

The packs are licensed for non-commercial research only: a labeller card that names one says so. Their detection models
are fetched here, checked against a sha256, and loaded alone; the packs' face recognition models are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from fairbench import threads
from fairbench.cards.cards import FileWeights, HubModel
from fairbench.errors import CardError, FairbenchError, WeightsError
from fairbench.networks import onnx, onnxfile, weights
from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, RgbImage


def _packed(pack: str, name: str, sha256: str, repo: str, file: str, revision: str | None = None) -> FileWeights:
    own = f"~/.insightface/models/{pack}/{name}"  # where insightface itself unpacks a pack
    return FileWeights(path=own, repo=repo, file=file, revision=revision, sha256=sha256)


_10G = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
_2G5 = "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9"
_500M = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
_10G_AT = ("public-data/insightface", "models/buffalo_l/det_10g.onnx", "33c1063c49c785b7652d3fd529f86fa4f149392b")
_2G5_AT = ("immich-app/buffalo_m", "detection/model.onnx")
_500M_AT = ("immich-app/buffalo_s", "detection/model.onnx", "0ff1751885575e62e084dff70549ce24a11fa5dc")
PACKS: Final[Mapping[str, FileWeights]] = {
    "buffalo_l": _packed("buffalo_l", "det_10g.onnx", _10G, *_10G_AT),
    "buffalo_m": _packed("buffalo_m", "det_2.5g.onnx", _2G5, *_2G5_AT),
    "buffalo_s": _packed("buffalo_s", "det_500m.onnx", _500M, *_500M_AT),
    "buffalo_sc": _packed("buffalo_sc", "det_500m.onnx", _500M, *_500M_AT),
    "antelopev2": _packed("antelopev2", "scrfd_10g_bnkps.onnx", _10G, *_10G_AT),
}
"""The detection model of every published pack. The packs come as zips of up to 300 MB, so the one file is fetched from
a hub repository that holds it singly; its sha256 is the one of the file in insightface's zip. antelopev2 and buffalo_l
have the same detector, byte for byte, and so have buffalo_s and buffalo_sc.
"""


CALLERS = 2
"""Images in work at once: one is scaled and decoded while the network works on another."""


class InsightFaceParams(Params):
    """What a card may set.

    One of three: pack, a published model pack; folder, a pack unpacked in a folder; weights, the file of a detection
    model (.onnx, SCRFD or RetinaFace). det_size: side, in pixels, of the square that every image is fitted into.
    det_thresh: lowest score of a face. nms_thresh: overlap (intersection over union) above which the weaker of two
    boxes is dropped.
    """

    pack: Literal["buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2"] | None = None
    folder: HubModel | None = None
    weights: FileWeights | None = None
    det_size: int = Field(640, ge=32, le=4096, multiple_of=32)
    det_thresh: float = Field(0.5, gt=0.0, lt=1.0)
    nms_thresh: float = Field(0.4, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _one_model(self) -> InsightFaceParams:
        if sum(source is not None for source in (self.pack, self.folder, self.weights)) != 1:
            raise ValueError(
                "give one of `pack`, `folder` (an unpacked pack), and `weights` (a detection model's file)"
            )
        if self.weights and not self.weights.filename.endswith(".onnx"):
            raise ValueError("weights: name the .onnx file of the detection model (det_* or scrfd_*), not a folder")
        return self


class InsightFaceDetector:
    """Finds faces one image at a time; insightface batches none. onnxruntime uses several threads within an image."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = InsightFaceParams

    def __init__(self, params: InsightFaceParams, ctx: BuildContext) -> None:
        """Raises WeightsError where the model is absent; the model is loaded at the first `detect`."""
        self._params = params
        self._device = ctx.device
        if params.folder is not None:
            self._path = _detection_file(weights.model_folder(params.folder, ctx.base_dir, ("*.onnx",)))
        else:
            self._path = weights.locate(params.weights or PACKS[str(params.pack)], ctx.base_dir)

    @cached_property
    def _model(self) -> Any:
        size = self._params.det_size
        model = _load(self._path, self._device)
        if model.static_input_size not in (None, (size, size)):
            width, height = model.static_input_size
            raise CardError(f"{self._path} works at {width} x {height} pixels only, the card says det_size: {size}.")
        # insightface's own default is two sizes, 128 and 640; the published protocols use one.
        thresholds = {"det_thresh": self._params.det_thresh, "nms_thresh": self._params.nms_thresh}
        model.prepare(ctx_id=0, input_size=(size, size), **thresholds)
        return model

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return the faces of each image, best score (0..1) first, with boxes that may lie partly outside.

        landmarks5: centre of the eye on the left side of the image, of the eye on its right, tip of the nose, left and
        right corner of the mouth; None where the model gives none. Coordinates have single precision.
        """
        _ = self._model  # built once, not by two threads at a time
        with ThreadPoolExecutor(CALLERS) as pool:
            return list(pool.map(self._detect_one, images))

    def _detect_one(self, image: RgbImage) -> list[Face]:
        short, long = sorted(image.shape[:2])
        if short * self._params.det_size < long:
            return []  # fitted into the square, such a strip is less than one pixel wide
        detections, points = self._model.detect(np.ascontiguousarray(image[:, :, ::-1]))
        boxes, scores = detections[:, :4].tolist(), detections[:, 4].tolist()
        landmarks = [None] * len(boxes) if points is None else [tuple(p) for p in points.reshape(-1, 10).tolist()]
        return [Face(tuple(b), s, m) for b, s, m in zip(boxes, scores, landmarks, strict=True)]


def _detection_file(folder: Path) -> Path:
    """Return the detection model of an unpacked pack. Raises WeightsError where there is not exactly one."""
    models = sorted(p for p in folder.rglob("*.onnx") if p.name.startswith(("det_", "scrfd_")))
    if len(models) != 1:
        names = ", ".join(p.name for p in models) or "none"
        raise WeightsError(f"{folder} must hold one detection model (det_*.onnx or scrfd_*.onnx), it holds: {names}.")
    return models[0]


def _load(path: Path, device: str) -> Any:
    """Return insightface's model of a detection file. Raises WeightsError where it is not one, or not one file."""
    onnxfile.refuse_external_data(path)
    try:
        from insightface import model_zoo
    except ImportError as err:  # OpenCV needs system libraries that slim images lack
        raise FairbenchError(
            f"The package insightface cannot be imported ({err}): reinstall it with pip install insightface, and on "
            "Debian or Ubuntu run apt-get install libgl1 libglib2.0-0."
        ) from err
    # The callers compute too: no more threads than processors, or they wait for each other.
    options, providers = onnx.session_options(max(1, threads.count() - CALLERS + 1)), onnx.providers(device)
    try:
        # static_shape_sessions would open the model a second time, with its shapes fixed.
        model = model_zoo.get_model(str(path), providers=providers, sess_options=options, static_shape_sessions=False)
    except Exception as err:
        first = (str(err).splitlines() or [""])[0]
        raise WeightsError(f"{path} is not a model that insightface can load ({first}).") from err
    if getattr(model, "taskname", None) != "detection":
        raise WeightsError(f"{path} is not a detection model: name the file det_* or scrfd_* of the pack.")
    return model
