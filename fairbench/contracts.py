"""Checks third-party plug-ins against protocols/, so that a broken one costs one sentence.

`check` looks at a plug-in when it is loaded, and `probe` calls it on a grey image before any work. `guard` turns what
it raises into a sentence. The other functions check the answer of a call and return it in the form that a run expects.
In all of them `title` is the beginning of that sentence, as in "The metric 'acme/parity'".
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fairbench.errors import FairbenchError, OutOfMemory, PluginError, one_line
from fairbench.plugins.output import quiet
from fairbench.protocols import MetricSpec, ScorerSpec
from fairbench.types import Face, ImageResult, LabelSchema, RgbImage

log = logging.getLogger(__name__)
METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "adapters": ("generate",),
    "detectors": ("detect",),
    "crops": ("cut",),
    "classifiers": ("classify",),
    "scorers": ("features", "summarise"),
    "methods": ("adapt", "rewrite"),
}
"""The methods that a plug-in class of each kind must have."""
CRASH: Final = "the model raised "
"""The beginning of the reason of an image whose generation raised an exception."""
PROBE_SIDE: Final = 64
"""Side in pixels of the grey image that a plug-in is called on."""
PIXEL_TOLERANCE: Final = 1e-3
"""How far a pixel may lie outside [0, 1]: rounding of reduced precision, not another scale."""
SUM_TOLERANCE: Final = 1e-2
"""How far the sum of probabilities may be from 1."""


@contextmanager
def guard(title: str) -> Iterator[None]:
    """Raise whatever a plug-in raises as a PluginError, in one sentence that begins with `title`.

    Errors of fairbench, and OutOfMemory, pass as they are. What the plug-in prints to stdout is not shown.
    """
    try:
        with quiet(title):
            yield
    except (FairbenchError, OutOfMemory):
        raise
    except (Exception, SystemExit) as err:
        log.debug("%s", title, exc_info=True)
        raise PluginError(f"{title} failed: it raised {one_line(err)}.") from err


def check(kind: str, title: str, plugin: Any) -> None:
    """Check what can be seen of a plug-in without calling it. Raises PluginError, which names what is missing."""

    def need(holds: bool, contract: str) -> None:
        if not holds:
            raise PluginError(f"{title} is broken: {contract} (see fairbench/protocols/).")

    if kind == "tasks":
        need(isinstance(plugin, str | os.PathLike), "a task is the path of a folder that holds task.yaml")
        need((Path(os.fspath(plugin)) / "task.yaml").is_file(), f"there is no task.yaml in {plugin}")
        return
    spec = getattr(plugin, "spec", None)
    if kind == "metrics":
        is_spec = isinstance(spec, MetricSpec) and isinstance(spec.name, str) and isinstance(spec.bounds, str)
        need(is_spec, "a metric has a `spec` of type MetricSpec, whose `name` and `bounds` are texts")
        limits = getattr(spec, "limits", None)
        need(limits is None or callable(limits), "its `limits` is None or a function of the classes' number")
        need(callable(plugin) and not isinstance(plugin, type), "a metric is an object that can be called, no class")
        return
    need(isinstance(plugin, type), f"a {kind[:-1]} is a class")
    for name in METHODS[kind]:
        need(callable(getattr(plugin, name, None)), f"it has no method `{name}`")
    version = getattr(plugin, "version", None)
    need(isinstance(version, int) and not isinstance(version, bool), "it has no `version`, a whole number")
    params = getattr(plugin, "Params", None)
    is_model = isinstance(params, type) and issubclass(params, BaseModel)
    need(params is None or is_model, "`Params` is no pydantic model")
    target = getattr(plugin, "target", None)
    if kind == "adapters" and target is not None:
        fields = params.model_fields if isinstance(params, type) and issubclass(params, BaseModel) else {}
        need(target in fields, "`target` names no field of its `Params`")
    if kind == "scorers":
        need(isinstance(spec, ScorerSpec) and bool(spec.values), "a scorer has a `spec` of type ScorerSpec with values")


def images(title: str, results: Any, count: int) -> list[ImageResult]:
    """Return the results of `generate` for `count` requests, with pixels as uint8. Raises PluginError.

    Each may be an ImageResult or a bare image; pixels may be a PIL image, uint8, or floats in [0, 1].
    """
    return [_result(title, result) for result in one_per_request(title, results, count)]


def one_per_request(title: str, results: Any, count: int) -> list[Any]:
    """Return as many results as there are requests, as a list. Raises PluginError for more, fewer, or none."""
    try:
        several = list(islice(results, count + 1))  # whatever it is may never end
    except TypeError:
        raise PluginError(
            f"{title} returned {type(results).__name__} from generate: return one ImageResult per request."
        ) from None
    if len(several) != count:
        number = f"more than {count}" if len(several) > count else len(several)
        raise PluginError(f"{title} returned {number} results for {count} requests: return one per request.")
    return several


def crashed(err: BaseException) -> ImageResult:
    """Return the result of an image whose generation raised an exception."""
    return ImageResult("failed", error=f"{CRASH}{one_line(err)}")


def _result(title: str, answer: Any) -> ImageResult:
    if not isinstance(answer, ImageResult):
        return ImageResult("ok", _pixels(title, answer))
    result = answer
    if result.pixels is not None and not _is_rgb(result.pixels):
        result = replace(result, pixels=_pixels(title, result.pixels))
    if result.encoded is not None and result.pixels is not None:
        from fairbench.storage import pixels

        height, width = result.pixels.shape[:2]
        if not isinstance(result.encoded, bytes) or pixels.size(result.encoded) != (width, height):
            raise PluginError(
                f"{title} returned an `encoded` that is no image file of its pixels' size: give the bytes that the "
                "pixels were decoded from, or leave it out."
            )
    return result


def _pixels(title: str, image: Any) -> RgbImage:
    from PIL import Image

    from fairbench.storage import pixels

    converted: RgbImage
    if isinstance(image, Image.Image):
        try:
            return pixels.from_pil(image)
        except ValueError as err:
            raise PluginError(f"{title} returned a PIL image that cannot be used: {err}.") from err
    if _is_rgb(image):
        converted = image
        return converted
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.size:
        lowest, highest = (float(image.min()), float(image.max())) if image.dtype.kind == "f" else (np.nan, np.nan)
        if lowest >= -PIXEL_TOLERANCE and highest <= 1 + PIXEL_TOLERANCE:  # False where a value is NaN
            converted = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
            return converted
        what = f"an array of {image.dtype} from {lowest:.4g} to {highest:.4g}"
    else:
        shape = f" of shape {tuple(image.shape)}" if hasattr(image, "shape") else ""
        what = f"{type(image).__name__}{shape}"
    raise PluginError(
        f"{title} returned {what} as an image: return a PIL image, or an array of height x width x 3 that holds "
        "uint8 or floats from 0 to 1, alone or in ImageResult('ok', pixels)."
    )


def _is_rgb(image: Any) -> bool:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        return False
    return image.ndim == 3 and image.shape[2] == 3 and image.size > 0


def texts(title: str, answer: Any, count: int) -> list[str]:
    """Return the texts of `rewrite` for `count` samples. Raises PluginError."""
    if isinstance(answer, str) or not isinstance(answer, Sequence) or not all(isinstance(t, str) for t in answer):
        raise PluginError(f"{title} returned {_described(answer)} from rewrite: return one text per sample.")
    if len(answer) != count:
        raise PluginError(f"{title} returned {len(answer)} prompts for {count} samples: return one text per sample.")
    return list(answer)


def detections(title: str, answer: Any, count: int) -> list[list[Face]]:
    """Return the faces of `detect` for `count` images, a list per image. Raises PluginError."""
    rows = list(islice(answer, count + 1)) if isinstance(answer, Sequence) and not isinstance(answer, str) else None
    if rows is None or len(rows) != count or not all(_are_faces(row) for row in rows):
        raise PluginError(f"{title} returned {_described(answer)} from detect: return one list of Face per image.")
    return [list(row) for row in rows]


def _are_faces(row: Any) -> bool:
    return isinstance(row, Sequence) and all(isinstance(f, Face) and len(f.bbox_xyxy) == 4 for f in row)


def chip(title: str, answer: Any) -> RgbImage:
    """Return the chip of `cut`, height x width x 3. Raises PluginError."""
    if not _is_rgb(answer):
        raise PluginError(
            f"{title} returned {_described(answer)} from cut: return an array of height x width x 3 that holds uint8."
        )
    image: RgbImage = answer
    return image


def probabilities(
    title: str, answer: Any, labels: Mapping[str, Sequence[str]], count: int, *, unclear: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Return the class probabilities of `classify` for `count` chips: attribute -> float32 (count, K).

    labels: attribute -> its declared labels, for every attribute of the classifier's schema. unclear: whether a row may
    be NaN throughout, for a chip without a label. Raises PluginError.
    """
    if not isinstance(answer, Mapping) or set(answer) != set(labels):
        raise PluginError(
            f"{title} returned {_described(answer)} from classify: return probabilities for {', '.join(labels)}."
        )
    probs = {}
    for name, names in labels.items():
        values = numbers(answer[name])
        if values is None or values.shape != (count, len(names)):
            raise PluginError(
                f"{title} returned {_described(answer[name])} for {name}: return probabilities of shape "
                f"({count}, {len(names)})."
            )
        known = values[~np.isnan(values).all(axis=1)] if unclear else values
        if not ((known >= 0).all() and (np.abs(known.sum(axis=1) - 1) <= SUM_TOLERANCE).all()):  # False for NaN
            raise PluginError(f"{title} returned no probabilities for {name}: they are 0 or more, and sum to 1.")
        probs[name] = values.astype(np.float32)
    return probs


def features(title: str, answer: Any, count: int) -> NDArray[np.float32]:
    """Return the features of a scorer for `count` images, float32 (count, D). Raises PluginError."""
    values = numbers(answer)
    if values is None or values.ndim != 2 or len(values) != count or not values.shape[1]:
        raise PluginError(
            f"{title} returned {_described(answer)} from features: return an array of shape ({count}, D)."
        )
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def summary(title: str, answer: Any, names: Sequence[str]) -> dict[str, float | None]:
    """Return the values of a scorer's `summarise`, one for each of `names`. Raises PluginError."""
    if not isinstance(answer, Mapping) or not set(names) <= set(answer):
        raise PluginError(f"{title} returned {_described(answer)} from summarise: return {', '.join(names)}.")
    values: dict[str, float | None] = {}
    for name in names:
        value = numbers(answer[name])
        if answer[name] is not None and (value is None or value.ndim or not np.isfinite(value)):
            raise PluginError(f"{title} returned {answer[name]!r} as {name}: return a finite number or None.")
        values[name] = None if value is None else float(value)
    return values


def numbers(answer: Any) -> NDArray[Any] | None:
    """Return a plug-in's answer as an array of real numbers, None where it is something else."""
    try:
        values = np.asarray(answer)
    except Exception:  # noqa: BLE001 - a ragged list, a tensor on a device: whatever it is, it is no array
        return None
    return values if values.dtype.kind in "fiu" else None


def _described(answer: Any) -> str:
    if isinstance(answer, Mapping):
        return f"{type(answer).__name__} with {', '.join(map(repr, list(answer)[:8])) or 'nothing'}"
    if hasattr(answer, "shape"):
        kind = f" {answer.dtype}" if hasattr(answer, "dtype") else ""
        return f"{type(answer).__name__}{kind} of shape {tuple(answer.shape)}"
    size = f" of length {len(answer)}" if hasattr(answer, "__len__") else ""
    return f"{type(answer).__name__}{size}"


def labels_of(title: str, classifier: Any) -> Mapping[str, Sequence[str]]:
    """Return attribute -> labels of what a classifier gives. Raises PluginError where it has no schema."""
    schema = getattr(classifier, "schema", None)
    if not isinstance(schema, LabelSchema):
        raise PluginError(f"{title} has no `schema`: set it to the part of `declared` that the classifier gives.")
    return schema.labels


def probe(kind: str, title: str, plugin: Any) -> None:
    """Call a detector, crop, classifier or scorer on a grey image and check the answer. Raises PluginError."""
    image = np.full((PROBE_SIDE, PROBE_SIDE, 3), 128, dtype=np.uint8)
    with guard(title):
        if kind == "detectors":
            detections(title, plugin.detect([image]), 1)
        elif kind == "crops":
            points = tuple(PROBE_SIDE * share for share in (0.4, 0.4, 0.6, 0.4, 0.5, 0.5, 0.42, 0.62, 0.58, 0.62))
            face = Face((PROBE_SIDE / 4, PROBE_SIDE / 4, PROBE_SIDE * 3 / 4, PROBE_SIDE * 3 / 4), 1.0, points)
            chip(title, plugin.cut(image, face))
        elif kind == "classifiers":
            unclear = bool(getattr(plugin, "unclear", False))
            probabilities(title, plugin.classify([image]), labels_of(title, plugin), 1, unclear=unclear)
        else:
            answer = features(title, plugin.features([image], ["a photo"]), 1)
            if not isinstance(plugin.backbone, str):
                raise PluginError(f"{title} has no `backbone`, a text that names its model and weights.")
            summary(title, plugin.summarise(answer), plugin.spec.values)
