"""Plain data that travels between the parts of fairbench: frozen, with slots, and picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

RgbImage = NDArray[np.uint8]
"""Height x width x 3, sRGB, 0..255."""

FloatArray = NDArray[np.floating[Any]]

ImageStatus = Literal["ok", "refused", "failed", "blank"]

NO_TEXT = "folder"
"""Template id of a prompt that is only the name of a group of images."""
NO_GROUP = "all images"
"""Name of the one group of images that nothing divides into prompts."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a task. `neutral_id` equals `prompt_id` unless attributes are stated in the text.

    concept: what the subject is called in every language, for pairing; form: its grammatical form, as in `feminine`.
    scored_as: what scorers compare the images with; empty: the text.
    """

    prompt_id: bytes
    neutral_id: bytes
    task: str
    task_version: int
    template_id: str
    text: str
    subject: str
    category: str = ""
    stated: Mapping[str, str] = field(default_factory=dict)
    concept: str = ""
    form: str = ""
    scored_as: str = ""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image to make. `seed` (63 bits) depends on the neutral prompt, the sample index and the run seed alone.

    `path` and `sha256` name the file of an image that exists already (adapter `folder`); else both are None.
    system_prompt: what the model puts before this prompt in place of its own text; None: its own. Only adapters that
    say so heed it (`protocols.TakesSystemPrompts`).
    """

    image_id: bytes
    prompt_id: bytes
    neutral_id: bytes
    text: str
    sample_index: int
    seed: int
    path: str | None = None
    sha256: str | None = None
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What an adapter returns for one request: pixels, or a status with the reason why there are none.

    `blank` is an image that the model withheld (a safety checker's black image): its pixels are not stored. notes: what
    a reader has to know of this image, by the code of a notice (`prompt-cut`, `prompt-rewritten`, `system-prompt`).
    encoded: the image file that `pixels` were decoded from (storage/pixels.py: decode), where the model gave one; it is
    stored byte for byte. None: the pixels are stored as PNG.
    """

    status: ImageStatus
    pixels: RgbImage | None = None
    error: str | None = None
    seconds: float = 0.0
    notes: Mapping[str, str] = field(default_factory=dict)
    encoded: bytes | None = None

    def __post_init__(self) -> None:
        if self.encoded is not None and self.status != "ok":
            raise ValueError("only an ok result has an image file")
        if (self.status == "ok") != (self.pixels is not None):
            raise ValueError("an ok result has pixels, any other has none")
        if self.status != "ok" and not self.error:
            raise ValueError(f"a result with status {self.status} states its reason in `error`")


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face. Coordinates are pixels of the whole image and may lie outside it.

    bbox_xyxy: left, top, right, bottom. landmarks5: x1, y1 .. x5, y5 in the detector's own order, or None.
    """

    bbox_xyxy: tuple[float, float, float, float]
    score: float
    landmarks5: tuple[float, ...] | None = None

    def clipped_area(self, width: int, height: int) -> float:
        """Return the area, in square pixels, of the part of the box that lies inside a width x height image."""
        x1, y1, x2, y2 = self.bbox_xyxy
        return max(0.0, min(x2, width) - max(x1, 0.0)) * max(0.0, min(y2, height) - max(y1, 0.0))


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face and the route (index into the labeller card's routes) that found it."""

    face: Face
    route: int


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """The declared, ordered labels of every attribute: never "the labels that occurred"."""

    labels: Mapping[str, tuple[str, ...]]

    def size(self, attribute: str) -> int:
        """Return the number K of declared labels."""
        return len(self.labels[attribute])


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What a plug-in is built with, apart from its own parameters.

    base_dir: the folder of the card, against which relative weight paths are resolved. dtype: a torch dtype's name.
    block_size: images per block; in reduced precision an adapter always computes blocks of exactly so many rows.
    compile: let torch compile what draws tokens; only adapters with `takes_compile` heed it.
    """

    device: str = "cpu"
    dtype: str = "float32"
    block_size: int = 1
    base_dir: Path | None = None
    compile: bool = False

    @property
    def reduced_precision(self) -> bool:
        """Whether an image can depend on the shape of the batch it was made in."""
        return self.dtype != "float32"
