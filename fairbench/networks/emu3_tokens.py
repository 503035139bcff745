"""The token interface of an Emu3 checkpoint: pixels to image tokens, and what the model thinks of given tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.networks.emu3 import FACTOR, Emu3Model, visual_head
from fairbench.networks.sampling import left_padded
from fairbench.types import RgbImage

_POSITIONS: Final = 1024
"""Positions whose logits exist at one time: those of a whole image, 8100 x 32768 numbers, would take a gigabyte."""


def as_input(model: Emu3Model, image: RgbImage) -> NDArray[np.float32]:
    """Return an image as the image tokenizer reads it: (3, height, width), standardised as the checkpoint says.

    An image of another shape is cut around its centre, one of another size is resized with the checkpoint's own filter.
    """
    settings = model.processor.image_processor
    fitted = _fitted(image, FACTOR * model.height, FACTOR * model.width, settings.resample)
    values = (fitted * settings.rescale_factor - np.array(settings.image_mean)) / np.array(settings.image_std)
    return np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)


def _fitted(image: RgbImage, height: int, width: int, resample: int) -> RgbImage:
    """Return the largest middle part of an image with the shape height x width, at that size."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    scale = min(image.shape[0] / height, image.shape[1] / width)
    rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    cut = Image.fromarray(image[top : top + rows, left : left + columns])
    return np.asarray(cut.resize((width, height), Image.Resampling(resample)))


def encode(model: Emu3Model, images: Sequence[RgbImage]) -> NDArray[np.int64]:
    """Return the codes (images, tokens_per_image) that the model's own tokenizer gives, row by row.

    One image at a time: an encoder of four frames at full resolution takes gigabytes.
    """
    import torch

    codes = np.empty((len(images), model.tokens_per_image), dtype=np.int64)
    with torch.inference_mode():
        for row, image in zip(codes, images, strict=True):
            values = torch.from_numpy(as_input(model, image))[None].to(model.net.device)
            found = model.net.model.vqmodel.encode(values, [values.shape[2:]]).image_tokens[0]
            row[:] = found.flatten().cpu().numpy()
    return codes


def token_scorer(model: Emu3Model) -> Any:
    """Return a module: `forward(ids, keep, tokens)` -> log p(token | prompt, tokens before it), (rows, N), in float32.

    Among the codes, which alone can be drawn; the end-of-line tokens between them are read, and not scored.
    """
    import torch
    from torch.nn import functional

    width, eol = model.width, model.eol

    class TokenLogProbs(torch.nn.Module):
        # One module with one forward: data-parallel wrappers see gradients only of what their own forward calls.
        def __init__(self) -> None:
            super().__init__()
            self.net = model.net

        def forward(self, ids: Any, keep: Any, tokens: Any) -> Any:
            # ids: (rows, T), prompts that end with an image's prefix, padded on the left; keep: bool (rows, T).
            codes = model.visual[tokens].view(len(tokens), -1, width)
            lines = functional.pad(codes, (0, 1), value=eol).flatten(1)
            # Neither the last code nor the end of its line has anything to predict.
            embeds = self.net.get_input_embeddings()(torch.cat([ids, lines[:, :-2]], dim=1))
            mask = torch.cat([keep, keep.new_ones((len(ids), lines.shape[1] - 2))], dim=1)
            states = self.net.model.text_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
            before_a_code = torch.arange(lines.shape[1] - 1, device=ids.device) % (width + 1) != width
            hidden = states.last_hidden_state[:, ids.shape[1] - 1 :][:, before_a_code]
            head = visual_head(self.net, model.visual)
            parts = zip(hidden.split(_POSITIONS, dim=1), tokens.split(_POSITIONS, dim=1), strict=True)
            return torch.cat([_picked(head, *part) for part in parts], dim=1)

    return TokenLogProbs()


def _picked(head: Any, hidden: Any, tokens: Any) -> Any:
    """Return the log-probabilities of tokens (rows, n); their logits are computed again for the gradient."""
    from torch.nn import functional
    from torch.utils.checkpoint import checkpoint

    def compute(hidden: Any) -> Any:
        logits = head(hidden).float().flatten(0, 1)
        return -functional.cross_entropy(logits, tokens.flatten(), reduction="none").view(tokens.shape)

    return checkpoint(compute, hidden, use_reentrant=False)


def token_inputs(model: Emu3Model, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
    """Return the inputs of `token_scorer`, for image tokens (rows, N), each row under its own text."""
    import torch

    ids, keep = left_padded([model.prompt_ids(text) for text in texts], model.pad)
    drawn = torch.from_numpy(np.ascontiguousarray(tokens))
    return tuple(part.to(model.net.device) for part in (ids, keep, drawn))
