"""What the adapter of a diffusion model may offer besides images: being trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fairbench.types import RgbImage

if TYPE_CHECKING:
    from fairbench.networks.noising import Noising, Step


class Denoising(Protocol):
    """A diffusion model as training sees it. Latents are (rows, C, h, w), float32; conditions have a row per text.

    module: a torch module around the network; `module(noisy latents, times, *conditions)` gives predictions in float32,
    through which gradients flow. noising: what these predictions are. guidance: predictions that images are drawn with
    are `blank + guidance (stated - blank)`; 1 where the network itself is told its guidance.
    """

    module: Any
    noising: Noising
    guidance: float
    latent_shape: tuple[int, int, int]

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.float32]:
        """Return the latents of images, each scaled and cropped to the size that the model draws."""
        ...

    def decode(self, latents: Any) -> Any:
        """Return images (rows, 3, height, width) from 0 to 1, through which gradients flow."""
        ...

    def conditions(self, texts: Sequence[str]) -> tuple[Any, ...]:
        """Return what the network is told of prompts. A row does not depend on the texts beside it."""
        ...

    def blank_conditions(self, rows: int) -> tuple[Any, ...]:
        """Return what it is told instead in the rows that guidance leads away from."""
        ...

    def steps(self, count: int) -> list[Step]:
        """Return the steps of a deterministic sampler, from noise to latents."""
        ...


@runtime_checkable
class DiffusionTrainable(Protocol):
    """What an adapter of a diffusion model may offer, so that `train` can fine-tune it."""

    def image_reading(self) -> Any:
        """Return plain data that changes whenever images or prompts are read otherwise, of the same weights."""
        ...

    def text_format(self) -> str | None:
        """Return what is put around a prompt, which stands for its {text}; None: nothing that the card could change."""
        ...

    def network(self) -> Any:
        """Return the frozen torch module whose layers a low-rank adapter changes in place; loads the weights.

        Raises CardError for a pipeline or settings that cannot be trained.
        """
        ...

    def recompute(self) -> None:
        """Have the network compute its activations again in the backward pass, which saves memory."""
        ...

    def lora_prefix(self) -> str:
        """Return what stands before the names of the network's layers in a LoRA's file: `unet` or `transformer`."""
        ...

    def denoising(self) -> Denoising:
        """Return the model as training sees it."""
        ...
