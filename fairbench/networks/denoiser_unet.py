"""Stable Diffusion 1, 2 and XL as training sees them: U-Nets that predict noise or velocity."""

from __future__ import annotations

from typing import Any

import torch

from fairbench.networks.denoiser import Conditions, Denoiser, steps_of
from fairbench.networks.noising import Noising, Prediction, Step


class _UNet(torch.nn.Module):
    """forward(latents, times, texts) and, of Stable Diffusion XL, pooled texts and sizes."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, latents: Any, times: Any, texts: Any, pooled: Any = None, sizes: Any = None) -> torch.Tensor:
        added = None if pooled is None else {"text_embeds": pooled, "time_ids": sizes}
        output = self.net(latents.to(texts.dtype), times, texts, added_cond_kwargs=added, return_dict=False)
        return output[0].float()  # type: ignore[no-any-return]


class StableDiffusion(Denoiser):
    """Stable Diffusion 1 and 2: a U-Net that predicts the noise or the velocity, as the scheduler's config says."""

    component = "unet"

    def _own_size(self) -> tuple[int, int]:
        side = self._pipe.unet.config.sample_size
        return (side, side) if isinstance(side, int) else (side[0], side[1])

    def _module(self) -> torch.nn.Module:
        if self._pipe.unet.config.time_cond_proj_dim is not None:
            raise self._refused("its network is told the guidance, which only distillation teaches")
        self.guidance = max(self._asked_guidance, 1.0)
        return _UNet(self._pipe.unet)

    def _noising(self) -> Noising:
        scheduler = self._pipe.scheduler
        prediction = scheduler.config.get("prediction_type", "epsilon")
        if not hasattr(scheduler, "alphas_cumprod") or prediction not in {"epsilon", "v_prediction"}:
            raise self._refused(f"{type(scheduler).__name__} with prediction_type {prediction} is not known")
        alphas = scheduler.alphas_cumprod.double().numpy()
        known: Prediction = prediction
        return Noising(known, alphas, len(alphas))

    def _parts(self, encoded: tuple[Any, ...], *, blank: bool) -> Conditions:
        return (encoded[int(blank)],)

    def steps(self, count: int) -> list[Step]:
        """Return steps of DDIM without noise, at the times that the checkpoint's scheduler spaces."""
        from diffusers import DDIMScheduler

        plain = {"clip_sample": False, "thresholding": False}
        scheduler = DDIMScheduler.from_config(self._pipe.scheduler.config, **plain)
        scheduler.set_timesteps(count)
        return steps_of(scheduler)


class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion XL: besides, the network is told the pooled text, the size and the crop of the image."""

    def _parts(self, encoded: tuple[Any, ...], *, blank: bool) -> Conditions:
        size = (self._height, self._width)
        texts, pooled = encoded[int(blank)], encoded[2 + int(blank)]
        # As when images are drawn: of that very size, and not cropped.
        sizes = self._pipe._get_add_time_ids(size, (0, 0), size, texts.dtype, pooled.shape[-1])
        return texts, pooled, sizes.to(texts.device)
