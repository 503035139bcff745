"""What diffusers pipelines have in common as training sees them (the protocol `Denoising`)."""

from __future__ import annotations

import copy
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench.errors import CardError
from fairbench.networks.noising import Noising, Step
from fairbench.types import RgbImage

Conditions = tuple[torch.Tensor, ...]
_REMEMBERED_TEXTS: Final = 64


class Denoiser(ABC):
    """One family of pipelines. Only the denoising network is trained; the texts' encoders stay as they are.

    The autoencoder computes in float32, and gives the mean of its latents.
    """

    component: ClassVar[str]
    module: torch.nn.Module

    def __init__(
        self, pipe: Any, size: tuple[int | None, int | None], guidance: float, arguments: Mapping[str, Any], card: str
    ) -> None:
        """size: height and width in pixels; None: the model's own. arguments: of the pipeline's `encode_prompt`.

        Raises CardError for a checkpoint that was trained in another way than those known here.
        """
        self._pipe, self._card, self._arguments = pipe, card, arguments
        self._asked_guidance = guidance
        factor = pipe.vae_scale_factor
        sides = zip(size, self._own_size(), strict=True)
        self._height, self._width = (self._even(side // factor if side else own) * factor for side, own in sides)
        if getattr(pipe.vae.config, "latents_mean", None) is not None:
            raise self._refused("its autoencoder normalises each channel of the latents")
        self.latent_shape = (pipe.vae.config.latent_channels, self._height // factor, self._width // factor)
        self.noising = self._noising()
        self.module = self._module()
        self._remembered = functools.lru_cache(maxsize=_REMEMBERED_TEXTS)(self._encoded)

    guidance: float

    @abstractmethod
    def _own_size(self) -> tuple[int, int]:
        """Return height and width of the latents that the model draws by itself."""

    @abstractmethod
    def _noising(self) -> Noising: ...

    @abstractmethod
    def _module(self) -> torch.nn.Module: ...

    @abstractmethod
    def _parts(self, encoded: tuple[Any, ...], *, blank: bool) -> Conditions:
        """Return the conditions, (1, ...) each, from what the pipeline's `encode_prompt` returned."""

    @abstractmethod
    def steps(self, count: int) -> list[Step]:
        """Return the steps of a deterministic sampler."""

    def _even(self, side: int) -> int:
        return side

    def _refused(self, reason: str) -> CardError:
        return CardError(f"Model card {self._card}: {type(self._pipe).__name__} cannot be trained here: {reason}.")

    @functools.cached_property
    def _vae(self) -> Any:
        vae = self._pipe.vae
        return vae if vae.dtype == torch.float32 else copy.deepcopy(vae).float()

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.float32]:
        """Return the latents of images (images, C, h, w), one image at a time: they do not depend on each other."""
        from PIL import Image, ImageOps

        config, latents = self._vae.config, []
        for image in images:
            fitted = ImageOps.fit(Image.fromarray(image), (self._width, self._height), Image.Resampling.LANCZOS)
            pixels = torch.from_numpy(np.array(fitted)).permute(2, 0, 1)[None].float() / 127.5 - 1
            with torch.no_grad():
                mean = self._vae.encode(pixels.to(self._vae.device)).latent_dist.mode()
            scaled = (mean - (config.shift_factor or 0.0)) * config.scaling_factor
            latents.append(scaled.cpu().numpy())
        return np.concatenate(latents)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images (rows, 3, height, width) from 0 to 1."""
        config = self._vae.config
        pixels: torch.Tensor = self._vae.decode(latents / config.scaling_factor + (config.shift_factor or 0.0)).sample
        return (pixels / 2 + 0.5).clamp(0, 1)

    def conditions(self, texts: Sequence[str]) -> Conditions:
        """Return what the network is told of prompts, a row per text."""
        rows = [self._parts(self._remembered(text, False), blank=False) for text in texts]
        return tuple(torch.cat(parts) for parts in zip(*rows, strict=True))

    def blank_conditions(self, rows: int) -> Conditions:
        """Return what it is told in the rows that guidance leads away from: the card's negative prompt, or none."""
        parts = self._parts(self._remembered("", True), blank=True)
        return tuple(part.expand(rows, *part.shape[1:]) for part in parts)

    def _encoded(self, text: str, guided: bool) -> tuple[Any, ...]:
        accepted = inspect.signature(self._pipe.encode_prompt).parameters
        arguments: dict[str, Any] = {
            **dict.fromkeys(("prompt_2", "prompt_3")),
            **self._arguments,
            "device": self._pipe.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": guided,
        }
        if not guided:
            arguments.pop("negative_prompt", None)
        with torch.no_grad():
            encoded = self._pipe.encode_prompt(
                prompt=[text], **{name: value for name, value in arguments.items() if name in accepted}
            )
        return tuple(encoded)


def steps_of(scheduler: Any) -> list[Step]:
    """Read off from a scheduler how its steps mix latents and prediction: one of each alone."""
    latents, prediction = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    steps = []
    for time in scheduler.timesteps:
        kept, moved = scheduler.step(prediction, time, latents, return_dict=False)[0].tolist()
        steps.append(Step(float(time), kept, moved))
    return steps
