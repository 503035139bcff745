"""The adapter `phantom-exact`: mannequins drawn from the planted table. Exact, instant, nothing to load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fairbench.cards.cards import ModelCard
from fairbench.phantom.planted import CELLS, cumulative
from fairbench.phantom.renderer import render
from fairbench.protocols import Params
from fairbench.types import BuildContext, ImageRequest, ImageResult


class PhantomExactParams(Params):
    """What a card may set. image_size: side in pixels. no_head_rate: share of images that show no head."""

    image_size: int = Field(64, ge=16, le=1024)
    no_head_rate: float = Field(0.03, ge=0.0, le=1.0)


class PhantomExactAdapter:
    """Draws (gender, race) of the planted subject that a text names, given the attributes that it states, if any.

    All draws of an image come from its own seed, in a fixed order: the same seed under another text is the same scene,
    and the same attributes too where the text still allows them.
    """

    version: ClassVar[int] = 1
    uses_dtype: ClassVar[bool] = False
    Params: ClassVar[type[BaseModel]] = PhantomExactParams

    def __init__(self, card: ModelCard, params: PhantomExactParams, ctx: BuildContext) -> None:
        self._params = params

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one image per request. A headless image is an image like any other: its status is `ok`."""
        return [self._render(request) for request in requests]

    def truth(self, request: ImageRequest) -> tuple[str, str, bool]:
        """Return the gender, the race and whether there is a head, as `generate` draws them for this request."""
        return self._draw(request, np.random.default_rng(request.seed))

    def _draw(self, request: ImageRequest, rng: np.random.Generator) -> tuple[str, str, bool]:
        head_draw, cell_draw = rng.random(2)
        gender, race = CELLS[int(np.searchsorted(cumulative(request.text), cell_draw, side="right"))]
        return gender, race, bool(head_draw >= self._params.no_head_rate)

    def _render(self, request: ImageRequest) -> ImageResult:
        start = time.perf_counter()
        rng = np.random.default_rng(request.seed)
        gender, race, head = self._draw(request, rng)
        pixels = render(gender, race, rng, self._params.image_size, head)
        return ImageResult("ok", pixels, seconds=time.perf_counter() - start)
