"""Emu3: a language model that draws an image line by line as tokens of its own vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fairbench.adapters.token_adapter import TokenAdapter
from fairbench.networks import emu3
from fairbench.protocols import Params as BaseParams
from fairbench.types import RgbImage

if TYPE_CHECKING:
    from fairbench.networks.emu3 import Emu3Model


class Emu3Adapter(TokenAdapter):
    """Images from an Emu3 checkpoint that draws (Emu3-Gen); see TokenAdapter.

    It answers no questions, which is another checkpoint's work (Emu3-Chat), and has no vision encoder apart from its
    image tokenizer.
    """

    version: ClassVar[int] = 1

    class Params(BaseParams):
        """Sampling settings. Guidance, top-k and size are the authors'; the prompt stands bare."""

        guidance: float = Field(3.0, ge=1.0, allow_inf_nan=False, description="classifier-free guidance; 1: none")
        temperature: float = Field(1.0, gt=0.0, allow_inf_nan=False)
        top_k: int | None = Field(2048, ge=1, description="only so many of the likeliest tokens are drawn; null: all")
        suffix: str = Field("", description="put behind every prompt, as it stands")
        negative_prompt: str = Field("", description="what guidance leads away from")
        ratio: str = Field("1:1", pattern=r"^[1-9]\d{0,3}:[1-9]\d{0,3}$", description="width to height")
        image_area: int = Field(518400, ge=64, le=4_194_304, description="pixels; sides are multiples of 8")

        @model_validator(mode="after")
        def _has_tokens(self) -> Emu3Adapter.Params:
            if min(emu3.grid_of(self.ratio, self.image_area)) < 1:
                raise ValueError("ratio and image_area leave one side without a token: make the area larger")
            return self

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of an image's tokens."""
        return emu3.grid_of(self.params.ratio, self.params.image_area)

    def _check_format(self, folder: Path) -> None:
        emu3.check_format(folder)

    def _open(self, folder: Path) -> Emu3Model:
        params = self.params
        return emu3.load(folder, self.ctx.device, self.ctx.dtype, self.grid, params.suffix, params.negative_prompt)

    def _sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], read_once: bool, on_step: Callable[[int], None]
    ) -> NDArray[np.int64]:
        model: Emu3Model = self.model
        settings = (self.params.guidance, self.params.temperature, self.params.top_k)
        return model.sample(prompts, seeds, *settings, read_once=read_once, on_step=on_step)

    def effective_settings(self) -> dict[str, Any]:
        """Return what images are made with, defaults included, as plain data for run.json."""
        rows, columns = self.grid
        return {
            **self.params.model_dump(mode="json"),
            "tokens_per_image": rows * columns,
            "image_size": [emu3.FACTOR * columns, emu3.FACTOR * rows],
            **self._shared_settings(),
        }

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return the image tokens (images, N) that the model's own image tokenizer gives."""
        from fairbench.networks import emu3_tokens

        return emu3_tokens.encode(self.model, images)

    # What training needs (protocol Trainable).

    def image_reading(self) -> list[int]:
        """Return the version of how images are read, and the grid that they are read into."""
        return [1, *self.grid]

    def text_format(self) -> str | None:
        """Return what stands around a prompt; None where nothing does."""
        return "{text}" + self.params.suffix if self.params.suffix else None

    def language_model(self) -> Any:
        """Return the decoder."""
        return self.model.net.model.text_model

    def token_scorer(self) -> Any:
        """Return a module whose forward gives log p of image tokens; see `emu3_tokens.token_scorer`."""
        from fairbench.networks import emu3_tokens

        return emu3_tokens.token_scorer(self.model)

    def token_inputs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return its inputs, for image tokens (rows, N), each row under its own text."""
        from fairbench.networks import emu3_tokens

        return emu3_tokens.token_inputs(self.model, texts, tokens)
