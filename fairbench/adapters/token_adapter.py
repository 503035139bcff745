"""What adapters of models that draw image tokens one by one share: batches, failures, LoRA, log-probabilities."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairbench import threads
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError, OutOfMemory
from fairbench.methods.lora import files as lora_files
from fairbench.networks import logprobs, sampling, steering, weights
from fairbench.networks.compiled import CompiledStep
from fairbench.networks.pretrained import config_of
from fairbench.types import BuildContext, FloatArray, ImageRequest, ImageResult, RgbImage

_Decoded = TypeVar("_Decoded")
SMALL_SIDE: Final = 128
"""Side, in pixels, up to which images are decoded several at a time: the memory of larger ones would add up."""


class TokenNetwork(Protocol):
    """A loaded checkpoint, as its family's module in networks/ makes it."""

    net: Any
    compiled: CompiledStep | None
    tokens_per_image: int
    image_size: int

    def prompt_ids(self, text: str) -> list[int]:
        """Return the token ids before an image's first token."""
        ...

    def attention(self) -> str:
        """Return what computes attention while tokens are drawn, for run.json."""
        ...

    def row_length(self, prompt: Sequence[int]) -> int:
        """Return the length to which the rows of a prompt are padded."""
        ...

    def pixels(self, tokens: NDArray[np.int64]) -> RgbImage:
        """Decode one image's tokens (N,). Raises FloatingPointError where pixels are not finite."""
        ...


class TokenAdapter(ABC):
    """Images from a checkpoint in transformers format, each from its own seed's noise.

    Prompts of one padded length share a batch. In reduced precision a batch always has `ctx.block_size` rows, filled up
    with copies: results then depend on block size and dtype, never on what else is in the block. Compiled steps get
    such batches in any precision, so that there is one shape for each padded length.
    """

    takes_lora: ClassVar[bool] = True
    takes_compile: ClassVar[bool] = True

    def __init__(self, card: ModelCard, params: Any, ctx: BuildContext) -> None:
        if card.weights is None:
            raise CardError(
                f"The model card {card.name!r} lacks `weights`, which the adapter {card.adapter} needs: add them."
            )
        self.params, self.ctx = params, ctx
        self._weights, self._lora = card.weights, card.lora
        if card.weights.path is not None and (folder := self._folder) is not None:
            self._check_format(folder)  # before all files of a folder that is no model are hashed for the key
        self._loaded: Any = None
        self.on_progress: Callable[[float], None] = lambda share: None
        self.decoder_shift: Callable[[Sequence[int]], Mapping[int, FloatArray]] | None = None

    # What a family defines.

    @abstractmethod
    def _check_format(self, folder: Path) -> None:
        """Raise WeightsError where a folder holds no checkpoint of this family; cheap."""

    @abstractmethod
    def _open(self, folder: Path) -> TokenNetwork:
        """Load the checkpoint onto the device."""

    @abstractmethod
    def _sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], read_once: bool, on_step: Callable[[int], None]
    ) -> NDArray[np.int64]:
        """Draw the image tokens (images, N) of prompts, as `networks.sampling.draw` does."""

    @abstractmethod
    def language_model(self) -> Any:
        """Return the decoder, a torch module with `layers`."""

    @abstractmethod
    def token_scorer(self) -> Any:
        """Return a torch module whose forward gives log p of image tokens, (rows, N), in float32."""

    @abstractmethod
    def token_inputs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return its inputs, for image tokens (rows, N), each row under its own text."""

    # What follows from it.

    @property
    def model(self) -> Any:
        """The family's TokenNetwork, loaded on first use. Raises WeightsError."""
        if self._loaded is None:
            self._loaded = self._load()
            if self.ctx.compile:
                decoder = self.language_model()
                self._loaded.compiled = CompiledStep(decoder, sampling.keyword(decoder))
        return self._loaded

    def _load(self) -> TokenNetwork:
        import torch

        folder = weights.model_folder(self._weights, self.ctx.base_dir)
        try:
            model = self._open(folder)
            if self._lora_folder is not None:
                from fairbench.networks import lora

                by_rows = getattr(self.params, "guidance", 1) != 1 and lora.is_guided(self._lora_folder)
                if by_rows and self.ctx.compile:
                    raise FairbenchError(
                        f"The adapter {self._lora_folder} is off in unconditional rows, which cannot be compiled: "
                        "leave out --compile."
                    )
                merge = not by_rows and not self.ctx.reduced_precision
                model.net = lora.worn(model.net, self._lora_folder, merge=merge)
                if by_rows:  # only families whose drawing tells rows apart have such adapters
                    model.on_rows = lora.OffInBlankRows(model.net)  # type: ignore[attr-defined]
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

    @property
    def _whole_blocks(self) -> bool:
        return self.ctx.reduced_precision or self.ctx.compile

    def _shared_settings(self) -> dict[str, Any]:
        """Return the part of `effective_settings` that is of no family.

        weights: file -> sha256 of a local folder, or repository and commit. attention: None where nothing was drawn.
        """
        return {
            "dtype": self.ctx.dtype,
            "attention": None if self._loaded is None else self._loaded.attention(),
            "compile": self.ctx.compile,
            "rows_per_call": self.ctx.block_size if self._whole_blocks else None,
            "weights": weights.model_identity(self._weights, self.ctx.base_dir),
            "lora": None if self._lora_folder is None else lora_files(self._lora_folder),
        }

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

    def _image(self, model: TokenNetwork, row: NDArray[np.int64]) -> RgbImage | str:
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
        for batch, rows in self._batches([model.row_length(prompt) for prompt in prompts]):
            seeds = [requests[i].seed for i in rows]
            shifts = {} if self.decoder_shift is None else self.decoder_shift(seeds)
            read_once = not self.ctx.reduced_precision and not shifts  # images of one prompt are shifted differently
            moved = partial(self._moved, finished, len(batch), drawn.shape)
            with steering.shifting(self.language_model().layers, shifts):
                tokens = self._sample([prompts[i] for i in rows], seeds, read_once, moved)
            drawn[batch] = tokens[: len(batch)]
            finished += len(batch)
        return drawn

    # What methods that shift hidden states need (protocol Steerable).

    def decoder_layers(self) -> int | None:
        """Return the number of the decoder's layers; None where neither it nor its config.json is here."""
        if self._loaded is not None:
            return len(self.language_model().layers)
        count = config_of(self._folder).get("text_config", {}).get("num_hidden_layers") if self._folder else None
        return None if count is None else int(count)

    def token_states(self, texts: Sequence[str], seeds: Sequence[int], layers: Sequence[int]) -> FloatArray:
        """Return the output (images, layers, positions, hidden) of decoder layers while images are drawn, unshifted."""
        prompts = [self.model.prompt_ids(text) for text in texts]
        states: list[Any] = [None] * len(prompts)
        for batch, rows in self._batches([self.model.row_length(prompt) for prompt in prompts]):
            with steering.recording(self.language_model().layers, layers, len(batch)) as recorded:
                self._sample([prompts[i] for i in rows], [seeds[i] for i in rows], False, lambda step: None)
            for i, row in zip(batch, recorded(), strict=True):
                states[i] = row
        return np.stack(states)

    def _moved(self, finished: int, batch: int, shape: tuple[int, int], step: int) -> None:
        images, tokens_per_image = shape
        self.on_progress((finished + batch * step / tokens_per_image) / images)

    def _batches(self, lengths: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
        """Yield which requests form a batch, and the rows to compute: the same, with copies as filling."""
        size = self.ctx.block_size if self._whole_blocks else len(lengths)
        for length in sorted(set(lengths)):
            members = [i for i, n in enumerate(lengths) if n == length]
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                fill = size - len(batch) if self._whole_blocks else 0
                yield batch, batch + batch[:1] * fill

    def decode(self, tokens: NDArray[np.int64]) -> list[RgbImage]:
        """Decode image tokens (images, N). Raises FloatingPointError where pixels are not finite."""
        return self._decode_all(self.model.pixels, tokens)

    def _decode_all(self, decode: Callable[[NDArray[np.int64]], _Decoded], tokens: NDArray[np.int64]) -> list[_Decoded]:
        """Decode each image's tokens. On a processor, small images are decoded side by side, one thread each."""
        small = self.ctx.device == "cpu" and self.model.image_size <= SMALL_SIDE
        return threads.one_each(decode, list(tokens)) if small else [decode(row) for row in tokens]

    def log_probs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log p(token | text, tokens before it) of image tokens (rows, N), one text per row."""
        return logprobs.log_probs(self.token_scorer(), self.token_inputs, texts, tokens)

    # What training needs (protocol Trainable).

    def network(self) -> Any:
        """Return the frozen network."""
        return self.model.net
