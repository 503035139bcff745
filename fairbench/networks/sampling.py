"""Sampling token by token: noise that belongs to an image and not to its batch, and a decoder that keeps its past."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairbench.networks.compiled import CompiledStep

TEXT_MULTIPLE = 64
"""Prompts are left-padded to a multiple of this many tokens, whatever else is in their batch."""
_WINDOW = 16
"""The attended part of the cache grows in steps of this many positions: few shapes, aligned for fused kernels."""


def gumbel(seeds: Sequence[int], steps: int, size: int, chunk: int = 16) -> Iterator[NDArray[np.float32]]:
    """Yield standard Gumbel noise for `steps` steps over a vocabulary of `size`, `chunk` steps at a time.

    Each array has shape (steps in this chunk, images, size). argmax(logits + T * noise) is a draw from
    softmax(logits / T). Row i depends on seeds[i] alone: not on the other rows, the chunk, or the device.

    NumPy's PCG64 takes the whole 63-bit seed; torch's CPU generator keeps the low 32 bits, so that among some 100,000
    images a few would share their noise. Drawn in double precision: a float32 draw has 2^24 values, and the tail
    of a vocabulary of 16384 over 576 steps is deep enough to meet the end of that grid.
    """
    streams = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    for start in range(0, steps, chunk):
        count = min(chunk, steps - start)
        noise = np.empty((count, len(streams), size), dtype=np.float32)
        for row, stream in enumerate(streams):
            noise[:, row] = stream.standard_exponential((count, size))
        np.log(noise, out=noise)
        yield np.negative(noise, out=noise)


def left_padded(rows: Sequence[Sequence[int]], pad: int, length: int | None = None) -> tuple[Any, Any]:
    """Return token ids (rows, T) with padding on the left, and which of them are text, bool (rows, T).

    T is `length`, or that of the longest row.
    """
    import torch

    length = length or max(map(len, rows))
    ids = torch.tensor([[pad] * (length - len(row)) + [*row] for row in rows])
    return ids, torch.arange(length)[None] >= torch.tensor([length - len(row) for row in rows])[:, None]


def padded_length(tokens: int) -> int:
    """Return the length to which a prompt of so many tokens is padded."""
    return -(-tokens // TEXT_MULTIPLE) * TEXT_MULTIPLE


Row = TypeVar("Row")


def read(
    rows: Sequence[Row],
    prefill: Callable[[Sequence[Row]], tuple[Any, Any]],
    language_model: Any,
    new: int,
    once: bool,
    compiled: CompiledStep | None = None,
) -> tuple[Any, StepDecoder]:
    """Return the hidden states after the texts (rows, hidden), and the decoder that goes on from there.

    prefill: rows -> embeddings (rows, T, hidden), and which positions are text, bool (rows, T). new: how many further
    positions there will be. once: equal rows are computed as one; the shape then depends on how many differ. compiled:
    what computes the further positions in the decoder's place.
    """
    import torch

    distinct = list(dict.fromkeys(rows)) if once else list(rows)
    embeds, keep = prefill(distinct)
    decoder = StepDecoder(language_model, keep, new, compiled)
    hidden = decoder(embeds)
    if len(distinct) < len(rows):
        row_of = {row: index for index, row in enumerate(distinct)}
        indices = torch.tensor([row_of[row] for row in rows], device=hidden.device)
        decoder.select(indices)
        hidden = hidden[indices]
    return hidden, decoder


def draw(
    hidden: Any,
    decoder: StepDecoder,
    seeds: Sequence[int],
    steps: int,
    head: Callable[[Any], Any],
    feed: Callable[[int, Any], Any],
    *,
    guidance: float = 1.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> NDArray[np.int64]:
    """Draw `steps` tokens for every image, (images, steps). A row of -1: its logits were not finite at some step.

    hidden: (rows, hidden), a row per image, and where guidance is not 1 their unconditional rows below. head: hidden
    states -> logits (rows, vocabulary). feed: step and the tokens drawn at it -> the embeddings (images, n, hidden) of
    what comes next, which are read one position after another. top_k: how many of the largest guided logits may be
    drawn. on_step: called with the number of tokens drawn so far.
    """
    import torch

    images, step = len(seeds), 0
    tokens = torch.empty((images, steps), dtype=torch.long, device=hidden.device)
    finite = torch.ones(images, dtype=torch.bool, device=hidden.device)
    logits = head(hidden)
    for chunk in gumbel(seeds, steps, logits.shape[-1]):
        for noise in torch.from_numpy(chunk).to(hidden.device):
            # In float32 whatever the weights are: guidance multiplies the rounding errors of the logits.
            logits = logits.float()
            if guidance != 1:
                stated, blank = logits[:images], logits[images:]
                logits = torch.add(blank, stated - blank, alpha=guidance)
            if top_k is not None and top_k < logits.shape[-1]:
                least = logits.topk(top_k, dim=-1).values[:, -1:]
                logits = logits.masked_fill(logits < least, -torch.inf)
            best, drawn = logits.add(noise, alpha=temperature).max(dim=-1)
            finite &= best.isfinite()
            tokens[:, step] = drawn
            step += 1
            on_step(step)
            if step < steps:
                for embeds in feed(step - 1, drawn).split(1, dim=1):
                    hidden = decoder(embeds.repeat(len(hidden) // images, 1, 1))
                logits = head(hidden)
    return np.asarray(torch.where(finite[:, None], tokens, -1).cpu().numpy(), dtype=np.int64)


def keyword(language_model: Any) -> str:
    """Return what a decoder calls its past: transformers renamed the argument in 5.24."""
    return "cache" if "cache" in inspect.signature(language_model.forward).parameters else "past_key_values"


class _Cache:
    """Keys and values of all layers in buffers of the final length; attention sees the first `window` positions.

    transformers' static cache attends to the whole final length at every step, its dynamic one copies itself at every
    step. Layers call `update` only.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.start = self.window = 0
        self.layers: dict[int, tuple[Any, Any]] = {}

    def update(self, key: Any, value: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Store (rows, heads, new, dim) at `start`; return everything inside the window."""
        if layer not in self.layers:
            shape = (*key.shape[:2], self.length, key.shape[3])
            # Zeros: what is masked still meets a weight of 0, and 0 times an uninitialised NaN is NaN.
            self.layers[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        keys, values = self.layers[layer]
        end = self.start + key.shape[2]
        keys[:, :, self.start : end] = key
        values[:, :, self.start : end] = value
        return keys[:, :, : self.window], values[:, :, : self.window]

    def select(self, rows: Any) -> None:
        """Make the past of `rows` (indices, repeats allowed) the past from here on."""
        self.layers = {n: (keys[rows], values[rows]) for n, (keys, values) in self.layers.items()}


class StepDecoder:
    """Runs a transformers decoder (of the Llama kind) over left-padded rows and then token by token.

    language_model: the module without its head. keep: which of the first positions are text, bool (rows, T). new: how
    many further positions there will be. compiled: computes them. Masks and positions are made once, not at every step.
    """

    def __init__(self, language_model: Any, keep: Any, new: int, compiled: CompiledStep | None = None) -> None:
        import torch

        rows, text = keep.shape
        length = -(-(text + new) // _WINDOW) * _WINDOW
        self.language_model, self.compiled, self._text = language_model, compiled, text
        self.keyword = keyword(language_model)
        self.cache = _Cache(length)
        self.positions = torch.arange(length, device=keep.device)[None]
        self.mask = torch.zeros((rows, 1, 1, length), dtype=language_model.dtype, device=keep.device)
        self.mask[:, 0, 0, :text].masked_fill_(~keep, -torch.inf)
        self.mask[..., text:] = -torch.inf

    def __call__(self, embeds: Any) -> Any:
        """Map embeddings (rows, new, hidden) to the hidden state (rows, hidden) after them."""
        cache, new = self.cache, embeds.shape[1]
        if new == 1 and self.compiled is not None:
            return self._compiled_step(embeds, self.compiled)
        end = cache.start + new
        cache.window = end if new > 1 else -(-end // _WINDOW) * _WINDOW
        if new > 1:
            mask = self._causal(new)
        else:
            self.mask[..., cache.start] = 0
            mask = self.mask[..., : cache.window]
        positions = self.positions[:, cache.start : end]
        past = {self.keyword: cache, "use_cache": True}
        out = self.language_model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions, **past)
        cache.start = end
        return out.last_hidden_state[:, -1]

    def select(self, rows: Any) -> None:
        """Go on with `rows` (indices, repeats allowed): one reading of a text then serves many images."""
        self.cache.select(rows)
        self.mask = self.mask[rows]

    def _compiled_step(self, embeds: Any, compiled: CompiledStep) -> Any:
        cache = self.cache
        if cache.start == self._text:
            compiled.go_on(cache.layers, self.mask)
            cache.layers = {}  # from here on the compiled step keeps them
        cache.start += 1
        return compiled(embeds, cache.start - 1)

    def _causal(self, new: int) -> Any:
        import torch

        ones = torch.ones((new, new), dtype=torch.bool, device=self.mask.device)
        mask = self.mask[..., :new].masked_fill(ones.triu(1), -torch.inf)
        # A padding position sees itself: a row of -inf alone would be NaN after the softmax.
        return mask.masked_fill(ones.tril().triu(), 0)
