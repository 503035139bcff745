"""Fair Diffusion (Friedrich et al. 2023): each image is guided towards a group drawn for it, and away from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np

from fairbench.errors import FairbenchError
from fairbench.methods.pipeline import PipelineMethod
from fairbench.networks import semantic_guidance
from fairbench.networks.semantic_guidance import Edits, Settings
from fairbench.types import ImageRequest


class FairDiffusion(PipelineMethod):
    """Guides each image towards a drawn group; `:race,strength=2`, or with shares `:gender=female:0.6,male:0.4`.

    The edit prompts are `female person` and `male person`, as in the paper. With K groups an image is guided away from
    each of the others with weight 1/(K - 1), which for two groups is the paper's rule.
    """

    version: ClassVar[int] = 1
    method: ClassVar[str] = "fair-diffusion"
    pipelines: ClassVar[tuple[str, ...]] = semantic_guidance.PIPELINES
    Options: ClassVar[type[Settings]] = Settings
    options: Settings

    def check(self, card: str, arguments: Mapping[str, Any]) -> None:
        """Refuse a model without classifier-free guidance, and a warm-up that no step follows."""
        if arguments.get("guidance_scale", 0) <= 1:
            raise FairbenchError(
                f"--method {self.method} needs classifier-free guidance, but the card of {card} sets none above 1 "
                "(`guidance` under `sampling`): use another model or another method."
            )
        if self.options.warmup >= arguments["num_inference_steps"]:
            raise FairbenchError(
                f"--method {self.method}: warmup={self.options.warmup} leaves none of the "
                f"{arguments['num_inference_steps']} steps of {card}: give a smaller warmup."
            )

    def load(self, pipe: Any, arguments: Mapping[str, Any]) -> Edits:
        """Return the encoded edit prompts, one for each group."""
        if pipe.unet.config.time_cond_proj_dim is not None:
            raise FairbenchError(
                f"--method {self.method} needs classifier-free guidance, which this distilled UNet has inside "
                "(time_cond_proj_dim): use a model that is not distilled."
            )
        return semantic_guidance.encode(pipe, [f"{group} person" for group in self.groups], arguments.get("clip_skip"))

    def acting(self, pipe: Any, loaded: Edits, requests: Sequence[ImageRequest]) -> AbstractContextManager[None]:
        """Return a context in which each image is guided towards its own group."""
        drawn = [self.draw(request)[0] for request in requests]
        others = max(len(self.groups) - 1, 1)
        weights = np.where(np.arange(len(self.groups))[:, None] == drawn, 1.0, -1.0 / others)
        return semantic_guidance.guided(pipe, loaded, weights, self.options)
