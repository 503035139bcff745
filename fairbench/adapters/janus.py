"""Janus and Janus-Pro: unified multimodal models that draw an image as a sequence of discrete tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from fairbench import threads
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError, OutOfMemory
from fairbench.methods.lora import files as lora_files
from fairbench.networks import janus, janus_answers, janus_tokens, weights
from fairbench.protocols import LATER
from fairbench.protocols import Params as BaseParams
from fairbench.types import BuildContext, FloatArray, ImageRequest, ImageResult, RgbImage

if TYPE_CHECKING:
    from fairbench.networks.janus import JanusModel

_Decoded = TypeVar("_Decoded")
SMALL_SIDE: Final = 128
"""Side, in pixels, up to which images are decoded several at a time: the memory of larger ones would add up."""


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
        if card.weights.path is not None and (folder := self._folder) is not None:
            janus.check_format(folder)  # before all files of a folder that is no model are hashed for the key
        self._loaded: JanusModel | None = None
        self.on_progress: Callable[[float], None] = lambda share: None

    @property
    def model(self) -> JanusModel:
        """The checkpoint, loaded on first use. Raises WeightsError."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> JanusModel:
        import torch

        folder = weights.model_folder(self._weights, self.ctx.base_dir)
        try:
            model = janus.load(folder, self.ctx.device, self.ctx.dtype, self.params.prompt_format)
            if self._lora_folder is not None:
                janus.put_lora(model, self._lora_folder, merge=not self.ctx.reduced_precision)
            return model
        except torch.OutOfMemoryError as err:
            raise FairbenchError(
                f"The weights in {folder} do not fit into the memory of {self.ctx.device}: free some of it, or use "
                "another device or a smaller dtype."
            ) from err

    @property
    def _folder(self) -> Path | None:
        """The checkpoint's folder, as far as it is on this machine."""
        return weights.local_folder(self._weights, self.ctx.base_dir)

    @property
    def _lora_folder(self) -> Path | None:
        return None if self._lora is None else (self.ctx.base_dir or Path.cwd()) / Path(self._lora).expanduser()

    def effective_settings(self) -> dict[str, Any]:
        """Return what images are made with, defaults included, as plain data for run.json.

        What only a loaded checkpoint knows (the chat template in words) is None where nothing was generated. weights:
        file -> sha256 of a local folder, or repository and commit.
        """
        vision, prompt_format = self._vision_config(), self.params.prompt_format
        if self._loaded is not None:
            prompt_format = self._loaded.conversation("{text}")
            vision = self._loaded.net.config.vision_config.to_dict()
        return {
            "guidance": self.params.guidance,
            "temperature": self.params.temperature,
            "prompt_format": prompt_format,
            "tokens_per_image": vision.get("num_image_tokens"),
            "image_size": vision.get("image_size"),
            "dtype": self.ctx.dtype,
            "rows_per_call": self.ctx.block_size if self.ctx.reduced_precision else None,
            "weights": weights.model_identity(self._weights, self.ctx.base_dir),
            "lora": None if self._lora_folder is None else lora_files(self._lora_folder),
        }

    def _vision_config(self) -> dict[str, Any]:
        """Return what config.json says of images, as far as it is on this machine."""
        folder = self._folder
        if folder is None or not (folder / "config.json").is_file():
            return {}
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("vision_config", {}))

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result per request, in order. Raises OutOfMemory where the device cannot hold the block."""
        import torch

        if not requests:
            return []
        model = self.model
        start = time.perf_counter()
        try:
            drawn = self._decode_all(partial(self._image, model), self.tokens(requests))
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
        """Draw image tokens, shape (requests, tokens per image); a row of -1 where the logits were not finite."""
        model = self.model
        prompts = [model.prompt_ids(request.text) for request in requests]
        drawn = np.empty((len(requests), model.tokens_per_image), dtype=np.int64)
        finished = 0
        for batch, rows in self._batches([len(prompt) for prompt in prompts]):
            tokens = model.sample(
                [prompts[i] for i in rows],
                [requests[i].seed for i in rows],
                self.params.guidance,
                self.params.temperature,
                read_once=not self.ctx.reduced_precision,
                on_step=partial(self._moved, finished, len(batch), drawn.shape),
            )
            drawn[batch] = tokens[: len(batch)]
            finished += len(batch)
        return drawn

    def _moved(self, finished: int, batch: int, shape: tuple[int, int], step: int) -> None:
        images, tokens_per_image = shape
        self.on_progress((finished + batch * step / tokens_per_image) / images)

    def decode(self, tokens: NDArray[np.int64]) -> list[RgbImage]:
        """Decode image tokens (images, N). Raises FloatingPointError where pixels are not finite."""
        return self._decode_all(self.model.pixels, tokens)

    def _decode_all(self, decode: Callable[[NDArray[np.int64]], _Decoded], tokens: NDArray[np.int64]) -> list[_Decoded]:
        """Decode each image's tokens. On a processor, small images are decoded side by side, one thread each."""
        small = self.ctx.device == "cpu" and self.model.image_size <= SMALL_SIDE
        return threads.one_each(decode, list(tokens)) if small else [decode(row) for row in tokens]

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return the image tokens (images, N) that the model's own image tokenizer gives."""
        return janus_tokens.encode(self.model, images)

    def log_probs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log p(token | text, tokens before it) of image tokens (rows, N); see `janus_tokens.log_probs`."""
        return janus_tokens.log_probs(self.model, texts, tokens)

    def embed(self, images: Sequence[RgbImage]) -> FloatArray:
        """Return the vision encoder's embeddings (images, hidden)."""
        return janus_tokens.embed(self.model, images)

    def answer(
        self,
        questions: Sequence[str],
        images: Sequence[RgbImage | None],
        seeds: Sequence[int] | None = None,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        limit: int = 32,
    ) -> list[str]:
        """Return one answer per question, with or without an image; see `janus_answers.answer`."""
        settings: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "limit": limit}
        settings["on_step"] = lambda step: self.on_progress(step / limit)
        return janus_answers.answer(self.model, questions, images, seeds, **settings)

    def _batches(self, lengths: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
        """Yield which requests form a batch, and the rows to compute: the same, with copies as filling."""
        size = self.ctx.block_size if self.ctx.reduced_precision else len(lengths)
        padded = [janus.padded_length(n) for n in lengths]
        for length in sorted(set(padded)):
            members = [i for i, n in enumerate(padded) if n == length]
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                fill = size - len(batch) if self.ctx.reduced_precision else 0
                yield batch, batch + batch[:1] * fill
