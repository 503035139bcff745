"""A method that hooks the model, as one would publish it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fairbench.methods.common import ModelMethod, stream
from fairbench.protocols import MethodContext
from fairbench.types import ImageRequest, ImageResult


class Mirrored(ModelMethod):
    """Mirrors half of all images, drawn for each of them: a model may draw one side of faces more often."""

    version = 1  # raise it whenever the same request gets another image

    def wrap(self, model: Any, ctx: MethodContext) -> None:
        """Put a function around the model's own `generate`."""
        generate = model.generate

        def mirrored(requests: Sequence[ImageRequest]) -> list[ImageResult]:
            return [_mirror(result, r.seed) for r, result in zip(requests, generate(requests), strict=True)]

        model.generate = mirrored


def _mirror(result: ImageResult, seed: int) -> ImageResult:
    # From the request's own seed: the same images are mirrored whatever else is in their batch.
    if result.pixels is None or stream(seed, "mirrored").random() < 0.5:
        return result
    return dataclasses.replace(result, pixels=np.ascontiguousarray(result.pixels[:, ::-1]), encoded=None)
