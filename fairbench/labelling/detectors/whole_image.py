"""No detection: every image counts as one face that fills it, for labellers that are asked about whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, RgbImage


class WholeImageParams(Params):
    """Nothing to set."""


class WholeImage:
    """Gives each image one box, the image itself: no image is faceless, and what it shows is the labeller's to say."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = WholeImageParams

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return one face per image: its whole area, with score 1."""
        return [[Face((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), 1.0)] for image in images]
