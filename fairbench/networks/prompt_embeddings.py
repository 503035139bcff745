"""Prompt embeddings of diffusers pipelines that read prompts with CLIP: their pooled form, and how both are moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import FairbenchError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

PIPELINES: Final = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline")
_BLOCK: Final = 16
"""Texts that are encoded together."""


def pooled(pipe: Any, texts: Sequence[str], clip_skip: int | None = None) -> Array:
    """Return the pooled embeddings of texts, rows x width, as a pipeline of PIPELINES has them.

    Stable Diffusion 1 and 2 use none: theirs is the state at the end of the text. SDXL has that of its second encoder,
    Stable Diffusion 3 those of both CLIP encoders, one after the other.
    """
    import torch

    blocks = []
    for start in range(0, len(texts), _BLOCK):
        block = list(texts[start : start + _BLOCK])
        ends = [last_token(pipe, text) for text in block]
        arguments: dict[str, Any] = {"clip_skip": clip_skip}
        if type(pipe).__name__ == "StableDiffusion3Pipeline":
            # Its T5 encoder pools nothing, and is the slowest: it gets one token.
            arguments |= {"prompt_2": None, "prompt_3": [""] * len(block), "max_sequence_length": 1}
        with torch.no_grad():
            encoded = pipe.encode_prompt(
                prompt=block,
                device=pipe._execution_device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
                **arguments,
            )
        if len(encoded) > 2:
            blocks.append(encoded[2])
        else:
            blocks.append(encoded[0][torch.arange(len(block)), ends])
    return torch.cat(blocks).double().cpu().numpy()


def last_token(pipe: Any, text: str) -> int:
    """Return the index of the mark at the end of a text. Raises FairbenchError where the text would be cut."""
    tokens, limit = len(pipe.tokenizer(text, verbose=False)["input_ids"]), pipe.tokenizer.model_max_length
    if tokens > limit:
        raise FairbenchError(
            f"The method's prompt {text!r} has {tokens} tokens, of which the model's text encoder reads {limit}: "
            "use another model."
        )
    return tokens - 1


def check_width(pipe: Any) -> None:
    """Refuse a pipeline whose encoders' states are not as wide as their pooled embeddings. Raises FairbenchError.

    In Stable Diffusion 1 and 2 they always are; SDXL is asked of its second encoder alone.
    """
    names = {
        "StableDiffusionXLPipeline": ("text_encoder_2",),
        "StableDiffusion3Pipeline": ("text_encoder", "text_encoder_2"),
    }
    for name in names.get(type(pipe).__name__, ()):
        config = getattr(pipe, name).config
        if config.hidden_size != config.projection_dim:
            raise FairbenchError(
                f"The {name} of this {type(pipe).__name__} has states of width {config.hidden_size} and pooled "
                f"embeddings of width {config.projection_dim}: what is fitted on the one does not fit the other."
            )


@contextmanager
def moved(pipe: Any, projection: Array, noise: Array, strength: float) -> Iterator[None]:
    """Move the prompts' embeddings to their projection plus noise, pooled ones too, while a pipeline is called.

    projection: width x width, symmetric. noise: prompts x width, added to all tokens of a prompt. strength: how far
    they move, 0 to 1; 0 changes no bit. In SDXL the states of the second encoder move, in Stable Diffusion 3 those of
    both CLIP encoders: what has the width of the pooled embeddings. Other states stay, and those of negative prompts.
    """
    import torch

    encode = pipe.encode_prompt

    def move(embeddings: Tensor) -> Tensor:
        exact = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        target = exact @ torch.as_tensor(projection).to(exact) + torch.as_tensor(noise).to(exact)[:, None]
        return (exact + strength * (target - exact)).to(embeddings)

    def encode_and_move(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        states, negative, *more = encode(*args, **kwargs)
        part = _part_of_width(pipe, states, len(projection))
        states = states.clone()
        states[part] = move(states[part])
        if more:
            more[0] = move(more[0][:, None])[:, 0]
        return states, negative, *more

    pipe.__dict__["encode_prompt"] = encode_and_move
    try:
        yield
    finally:
        del pipe.__dict__["encode_prompt"]


def _part_of_width(pipe: Any, states: Tensor, width: int) -> tuple[slice, slice, slice]:
    """Return where the states of width `width` stand: rows, tokens, features."""
    every = slice(None)
    if type(pipe).__name__ == "StableDiffusion3Pipeline":
        return every, slice(pipe.tokenizer_max_length), slice(width)
    return every, every, slice(states.shape[-1] - width, None)
