"""Janus and Janus-Pro: unified multimodal models that draw an image as a sequence of discrete tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from fairbench import weights
from fairbench.config import ModelCard
from fairbench.errors import CardError, FairbenchError, OutOfMemory
from fairbench.protocols import LATER
from fairbench.protocols import Params as BaseParams
from fairbench.types import BuildContext, FloatArray, ImageRequest, ImageResult, RgbImage

if TYPE_CHECKING:
    from fairbench.adapters.janus_model import JanusModel


class JanusAdapter:
    """Images from a Janus checkpoint in transformers format, each from its own seed's noise.

    Prompts of one padded length share a batch. In reduced precision a batch always has `ctx.block_size` rows, filled up
    with copies: results then depend on block size and dtype, never on what else is in the block.
    """

    version: ClassVar[int] = 1
    takes_lora: ClassVar[bool] = True

    class Params(BaseParams):
        """Sampling settings; the defaults are those of the model's authors."""

        guidance: float = Field(5.0, ge=1.0, allow_inf_nan=False, description="classifier-free guidance; 1: none")
        temperature: float = Field(1.0, gt=0.0, allow_inf_nan=False)
        prompt_format: str | None = Field(
            None,
            json_schema_extra={**LATER},
            description="the conversation around a prompt, put for {text}; null: the checkpoint's own template",
        )

        @field_validator("prompt_format")
        @classmethod
        def _holds_text(cls, value: str | None) -> str | None:
            if value is not None and value.count("{text}") != 1:
                raise ValueError("must hold {text} exactly once")
            return value

    def __init__(self, card: ModelCard, params: Params, ctx: BuildContext) -> None:
        if card.weights is None:
            raise CardError(f"The model card {card.name!r} lacks `weights`, which the adapter janus needs: add them.")
        self.params, self.ctx = params, ctx
        self._weights, self._lora = card.weights, card.lora
        self._loaded: JanusModel | None = None

    @property
    def model(self) -> JanusModel:
        """The checkpoint, loaded on first use. Raises WeightsError."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> JanusModel:
        import torch

        from fairbench.adapters import janus_model

        folder = weights.model_folder(self._weights, self.ctx.base_dir)
        try:
            model = janus_model.load(folder, self.ctx.device, self.ctx.dtype, self.params.prompt_format)
            if self._lora is not None:
                adapter = (self.ctx.base_dir or Path.cwd()) / Path(self._lora).expanduser()
                janus_model.put_lora(model, adapter, merge=not self.ctx.reduced_precision)
            return model
        except torch.OutOfMemoryError as err:
            raise FairbenchError(
                f"The weights in {folder} do not fit into the memory of {self.ctx.device}: free some of it, or use "
                "another device or a smaller dtype."
            ) from err

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result a request, in order. Raises OutOfMemory where the device cannot hold the block."""
        import torch

        if not requests:
            return []
        model = self.model
        start = time.perf_counter()
        try:
            drawn = [self._image(model, row) for row in self.tokens(requests)]
        except torch.OutOfMemoryError as err:
            reason = str(err).splitlines()[0]
        else:
            seconds = (time.perf_counter() - start) / len(requests)
            return [
                ImageResult("failed", error=image, seconds=seconds)
                if isinstance(image, str)
                else ImageResult("ok", pixels=image, seconds=seconds)
                for image in drawn
            ]
        # Only out here has the traceback let go of the block's tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(reason)

    def _image(self, model: JanusModel, row: NDArray[np.int64]) -> RgbImage | str:
        """Return one image's pixels, or the reason why there are none."""
        if row[0] < 0:
            return "the model's logits are not finite numbers"
        try:
            return model.pixels(row)
        except FloatingPointError as err:
            return str(err)

    def tokens(self, requests: Sequence[ImageRequest]) -> NDArray[np.int64]:
        """Draw image tokens, shape (requests, tokens an image); a row of -1 where the logits were not finite."""
        model = self.model
        prompts = [model.prompt_ids(request.text) for request in requests]
        drawn = np.empty((len(requests), model.tokens_per_image), dtype=np.int64)
        for batch, rows in self._batches([len(prompt) for prompt in prompts]):
            drawn[batch] = model.sample(
                [prompts[i] for i in rows], [requests[i].seed for i in rows],
                self.params.guidance, self.params.temperature, read_once=not self.ctx.reduced_precision,
            )[: len(batch)]  # fmt: skip
        return drawn

    def decode(self, tokens: NDArray[np.int64]) -> list[RgbImage]:
        """Decode image tokens (images, N). Raises FloatingPointError where pixels are not finite."""
        return [self.model.pixels(row) for row in tokens]

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return the image tokens (images, N) that the model's own image tokenizer gives."""
        from fairbench.adapters import janus_tokens

        return janus_tokens.encode(self.model, images)

    def log_probs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log p(token | text, tokens before it) of image tokens (rows, N); see `janus_tokens.log_probs`."""
        from fairbench.adapters import janus_tokens

        return janus_tokens.log_probs(self.model, texts, tokens)

    def embed(self, images: Sequence[RgbImage]) -> FloatArray:
        """Return the vision encoder's embeddings (images, hidden)."""
        from fairbench.adapters import janus_tokens

        return janus_tokens.embed(self.model, images)

    def answer(
        self, questions: Sequence[str], images: Sequence[RgbImage | None], seeds: Sequence[int] | None = None, *,
        temperature: float = 1.0, top_p: float = 1.0, limit: int = 32,
    ) -> list[str]:  # fmt: skip
        """Return one answer a question, with or without an image; see `janus_answers.answer`."""
        from fairbench.adapters import janus_answers

        return janus_answers.answer(
            self.model, questions, images, seeds, temperature=temperature, top_p=top_p, limit=limit
        )

    def _batches(self, lengths: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
        """Yield which requests form a batch, and the rows to compute: the same, with copies as filling."""
        from fairbench.adapters.janus_model import padded_length

        size = self.ctx.block_size if self.ctx.reduced_precision else len(lengths)
        padded = [padded_length(n) for n in lengths]
        for length in sorted(set(padded)):
            members = [i for i, n in enumerate(padded) if n == length]
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                fill = size - len(batch) if self.ctx.reduced_precision else 0
                yield batch, batch + batch[:1] * fill
