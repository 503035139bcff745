"""Stable Diffusion 3 and FLUX.1 as training sees them: transformers that predict the flow."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch

from fairbench.networks.denoiser import Conditions, Denoiser, steps_of
from fairbench.networks.noising import Noising, Step


class _Sd3(torch.nn.Module):
    """forward(latents, times, texts, pooled texts)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, latents: Any, times: Any, texts: Any, pooled: Any) -> torch.Tensor:
        output = self.net(latents.to(texts.dtype), texts, pooled, times, return_dict=False)
        return output[0].float()  # type: ignore[no-any-return]


class StableDiffusion3(Denoiser):
    """Stable Diffusion 3: a transformer that predicts the flow."""

    component = "transformer"

    def _own_size(self) -> tuple[int, int]:
        return (self._pipe.default_sample_size,) * 2

    def _module(self) -> torch.nn.Module:
        self.guidance = max(self._asked_guidance, 1.0)
        return _Sd3(self._pipe.transformer)

    def _noising(self) -> Noising:
        from diffusers import FlowMatchEulerDiscreteScheduler

        scheduler = self._pipe.scheduler
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler) or scheduler.config.invert_sigmas:
            raise self._refused(f"{type(scheduler).__name__} as it is set is not known")
        config, shift = scheduler.config, scheduler.shift
        if config.use_dynamic_shifting:
            shift = math.exp(self._mu()) if config.time_shift_type == "exponential" else self._mu()
        return Noising("flow", np.empty(0), config.num_train_timesteps, float(shift))

    def _parts(self, encoded: tuple[Any, ...], *, blank: bool) -> Conditions:
        return encoded[int(blank)], encoded[2 + int(blank)]

    def _patch(self) -> int:
        return int(self._pipe.transformer.config.patch_size)

    def _mu(self) -> float:
        """Return how far larger images are shifted towards noise, by the number of the image's tokens."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        tokens, config = math.prod(side // self._patch() for side in self.latent_shape[1:]), self._pipe.scheduler.config
        of_config = (config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift)
        return float(calculate_shift(tokens, *of_config))

    def _sigmas(self, count: int) -> list[float] | None:
        return None

    def steps(self, count: int) -> list[Step]:
        """Return Euler's steps, at the times of the checkpoint's scheduler."""
        scheduler = copy.deepcopy(self._pipe.scheduler)
        mu = self._mu() if scheduler.config.use_dynamic_shifting else None
        scheduler.set_timesteps(count, sigmas=self._sigmas(count), mu=mu)
        return steps_of(scheduler)


class _Flux(torch.nn.Module):
    """forward(latents, times, texts, pooled texts, positions of the text's tokens)."""

    def __init__(self, pipe: Any, guidance: float, times: int) -> None:
        super().__init__()
        self.net = pipe.transformer
        self._pack, self._unpack, self._ids = pipe._pack_latents, pipe._unpack_latents, pipe._prepare_latent_image_ids
        self._guidance, self._times = guidance, times

    def forward(self, latents: Any, times: Any, texts: Any, pooled: Any, text_ids: Any) -> torch.Tensor:
        rows, channels, height, width = latents.shape
        told = self.net.config.guidance_embeds
        output = self.net(
            hidden_states=self._pack(latents.to(texts.dtype), rows, channels, height, width),
            timestep=times.to(texts.dtype) / self._times,
            guidance=torch.full((rows,), self._guidance, device=latents.device) if told else None,
            pooled_projections=pooled,
            encoder_hidden_states=texts,
            txt_ids=text_ids[0],
            img_ids=self._ids(rows, height // 2, width // 2, latents.device, texts.dtype),
            return_dict=False,
        )
        return self._unpack(output[0], height, width, 1).float()  # type: ignore[no-any-return]


class Flux(StableDiffusion3):
    """FLUX.1: a transformer over packed latents that predicts the flow.

    A distilled one is told the card's guidance, in training as in drawing.
    """

    def _module(self) -> torch.nn.Module:
        self.guidance = 1.0
        return _Flux(self._pipe, self._asked_guidance, self.noising.times)

    def _parts(self, encoded: tuple[Any, ...], *, blank: bool) -> Conditions:
        texts, pooled, positions = encoded
        return texts, pooled, positions[None]

    def _even(self, side: int) -> int:
        return 2 * (side // 2)

    def _patch(self) -> int:
        return 2

    def _sigmas(self, count: int) -> list[float] | None:
        return [float(sigma) for sigma in np.linspace(1.0, 1 / count, count)]
