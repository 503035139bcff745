"""A model that paints one colour: no head, no face."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fairbench.cards.cards import ModelCard
from fairbench.protocols import Params
from fairbench.types import BuildContext, ImageRequest, ImageResult


class FlatParams(Params):
    """level: a grey level from 0 to 255."""

    level: int = 128


class FlatAdapter:
    """Paints the grey level that it is told."""

    version: ClassVar[int] = 1
    target: ClassVar[str] = "level"  # what stands behind the colon of --model
    Params: ClassVar[type[FlatParams]] = FlatParams

    def __init__(self, card: ModelCard, params: FlatParams, ctx: BuildContext) -> None:
        self._level = params.level

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one grey image a request."""
        return [ImageResult("ok", np.full((64, 64, 3), self._level, dtype=np.uint8)) for _ in requests]
