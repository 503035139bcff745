"""What the diffusers adapter offers to `fairbench train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fairbench.adapters.diffusers_params import DiffusersParams
from fairbench.errors import CardError

if TYPE_CHECKING:
    from fairbench.cards.cards import ModelCard
    from fairbench.networks.denoiser import Denoiser

_READING_VERSION: Final = 1
"""Raise it whenever the same images and prompts are read otherwise."""


class TrainablePipeline:
    """The part of the adapter that trains: a pipeline's denoising network, its texts and its latents."""

    _pipe: Any
    _params: DiffusersParams
    _card: ModelCard
    _denoiser: Denoiser | None = None

    def image_reading(self) -> dict[str, Any]:
        """Return what decides how images and prompts are read, besides the weights."""
        params = self._params
        return {
            "version": _READING_VERSION,
            "size": [params.height, params.width],
            "guidance": params.guidance,
            "negative prompt": params.negative_prompt,
            "max_sequence_length": params.max_sequence_length,
            "arguments": params.arguments,
            "scheduler": [params.scheduler, params.scheduler_options],
        }

    def text_format(self) -> None:
        """Return None: the pipeline reads prompts as they are."""

    def network(self) -> Any:
        """Return the frozen network, on its device. Raises CardError for what cannot be trained."""
        module: Any = self.denoising().module
        return module.net

    def recompute(self) -> None:
        """Have the network compute its activations again in the backward pass."""
        self.network().enable_gradient_checkpointing()

    def lora_prefix(self) -> str:
        """Return `unet` or `transformer`."""
        return self.denoising().component

    def denoising(self) -> Denoiser:
        """Return the model as training sees it; loads the weights on first use. Raises CardError."""
        if self._denoiser is None:
            self._denoiser = self._built()
        return self._denoiser

    def _built(self) -> Denoiser:
        from fairbench.networks.denoiser_flow import Flux, StableDiffusion3
        from fairbench.networks.denoiser_unet import StableDiffusion, StableDiffusionXL

        families: dict[str, type[Denoiser]] = {
            "StableDiffusionPipeline": StableDiffusion,
            "StableDiffusionXLPipeline": StableDiffusionXL,
            "StableDiffusion3Pipeline": StableDiffusion3,
            "FluxPipeline": Flux,
        }
        params, refused = self._params, f"Model card {self._card.name} cannot be trained"
        if params.quantization or params.offload:
            field = "quantization" if params.quantization else "offload"
            raise CardError(f"{refused} with `{field}`, which moves or rounds its weights: remove it from `sampling`.")
        if params.system_prompt is not None or params.guidance_argument != "guidance_scale":
            field = "system_prompt" if params.system_prompt is not None else "guidance_argument"
            raise CardError(f"{refused} with `{field}`, which no pipeline that can be trained has: remove it.")
        pipe = self._pipe
        family = families.get(type(pipe).__name__)
        if family is None:
            raise CardError(f"{refused}: {type(pipe).__name__} is none of {', '.join(families)}, which `train` knows.")
        arguments = {
            "negative_prompt": None if params.negative_prompt is None else [params.negative_prompt],
            "max_sequence_length": params.max_sequence_length,
            **params.arguments,
        }
        for part in (getattr(pipe, family.component), pipe.vae):
            part.requires_grad_(False)
        given = {name: value for name, value in arguments.items() if value is not None}
        return family(pipe, (params.height, params.width), params.guidance, given, self._card.name)
