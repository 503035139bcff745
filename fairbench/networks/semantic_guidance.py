"""Semantic guidance (SEGA; Brack et al., NeurIPS 2023) inside diffusers pipelines that denoise with a guided UNet."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fairbench.networks.prompt_embeddings import last_token
from fairbench.protocols import Params

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PIPELINES: Final = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
"""Pipelines whose UNet sees the unconditional rows of a block first and then those of the prompts."""


class Settings(Params):
    """How edits are applied. The defaults are those of the Fair Diffusion authors' script."""

    strength: float = Field(4.0, ge=0, description="scale of the edits; 0: none")
    threshold: float = Field(0.95, ge=0, lt=1, description="share of a channel's positions that an edit leaves alone")
    warmup: int = Field(5, ge=0, description="denoising steps before the first that is guided")
    momentum: float = Field(0.5, ge=0, le=1, description="weight of the running mean of earlier guidance")
    decay: float = Field(0.6, ge=0, lt=1, description="how much of that mean each step keeps")


@dataclass
class Guidance:
    """The guidance of one call, step by step: what the edits add to the guided noise.

    weights: edits x rows; positive towards an edit, negative away from it.
    """

    settings: Settings
    weights: Tensor
    _steps: int = 0
    _mean: Tensor | float = 0.0

    def step(self, unconditional: Tensor, edited: Tensor) -> Tensor:
        """Return what to add to the guided noise of this step, rows x channels x height x width, in float32 or more.

        unconditional: the noise that is predicted without a prompt, in the same shape. edited: edits x this shape.
        Within each channel, an edit acts where its difference to the unconditional noise is largest (equation 5 of the
        paper); momentum is gathered during warm-up and first used after it.
        """
        import torch

        dtype = torch.promote_types(unconditional.dtype, torch.float32)
        difference = self.settings.strength * (edited.to(dtype) - unconditional.to(dtype))
        size = difference.abs()
        limit = torch.quantile(size.flatten(3), self.settings.threshold, dim=3)[..., None, None]
        edits = torch.where(size >= limit, difference, torch.zeros_like(difference))
        total = torch.einsum("er,erchw->rchw", self.weights.to(edits), edits) + self.settings.momentum * self._mean
        self._mean = self.settings.decay * self._mean + (1 - self.settings.decay) * total
        self._steps += 1
        return total if self._steps > self.settings.warmup else torch.zeros_like(total)


@dataclass(frozen=True, slots=True)
class Edits:
    """Encoded edit prompts. hidden: edits x tokens x width. pooled: edits x width, where the pipeline has it."""

    hidden: Tensor
    pooled: Tensor | None = None

    def conditioning(self, kwargs: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """Return the UNet's keyword arguments of a call of 2 x rows for all edits of these rows, edit by edit."""
        changed = {**kwargs, "encoder_hidden_states": self.hidden.repeat_interleave(rows, dim=0)}
        if self.pooled is not None:
            times = kwargs["added_cond_kwargs"]["time_ids"][rows:]
            changed["added_cond_kwargs"] = {
                "text_embeds": self.pooled.repeat_interleave(rows, dim=0),
                "time_ids": times.repeat(len(self.hidden), 1),
            }
        return changed


def encode(pipe: Any, texts: Sequence[str], clip_skip: int | None = None) -> Edits:
    """Return edit prompts as a pipeline of PIPELINES encodes them, one by one. Raises FairbenchError for a long one."""
    import torch

    encoded = []
    for text in texts:
        last_token(pipe, text)
        with torch.no_grad():
            encoded.append(
                pipe.encode_prompt(
                    [text],
                    device=pipe._execution_device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=False,
                    clip_skip=clip_skip,
                )
            )
    pooled = torch.cat([parts[2] for parts in encoded]) if len(encoded[0]) > 2 else None
    return Edits(torch.cat([parts[0] for parts in encoded]), pooled)


@dataclass
class _Call:
    """One call of a pipeline: the UNet's prediction is followed by one for the edits, and the scheduler gets both."""

    edits: Edits
    guidance: Guidance
    added: list[Tensor] = field(default_factory=list)
    _predicting: bool = False

    def after_unet(self, unet: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._predicting:
            return
        rows = len(output[0]) // 2
        count = len(self.edits.hidden)
        self._predicting = True
        try:
            edited = unet(args[0][:rows].repeat(count, 1, 1, 1), *args[1:], **self.edits.conditioning(kwargs, rows))[0]
        finally:
            self._predicting = False
        self.added.append(self.guidance.step(output[0][:rows], edited.unflatten(0, (count, rows))))


@contextmanager
def guided(pipe: Any, edits: Edits, weights: NDArray[np.float64], settings: Settings) -> Iterator[None]:
    """Add semantic guidance to the images of one call of a pipeline of PIPELINES, with classifier-free guidance on.

    weights: edits x rows of the call. The pipeline's own predictions are what they are without this: strength
    0 changes no bit of an image.
    """
    import torch

    call = _Call(edits, Guidance(settings, torch.as_tensor(weights)))
    step = pipe.scheduler.step

    @functools.wraps(step)
    def with_edits(model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
        return step(model_output + call.added.pop().to(model_output), *args, **kwargs)

    hook = pipe.unet.register_forward_hook(call.after_unet, with_kwargs=True)
    pipe.scheduler.__dict__["step"] = with_edits
    try:
        yield
    finally:
        hook.remove()
        del pipe.scheduler.__dict__["step"]
