"""FairImagen (Fu et al., NeurIPS 2025): what tells groups apart leaves prompt embeddings, and a drawn part returns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field

from fairbench.errors import FairbenchError
from fairbench.methods.pipeline import PipelineMethod
from fairbench.networks import fair_pca, prompt_embeddings
from fairbench.networks.fair_pca import FairPca
from fairbench.protocols import Params
from fairbench.types import ImageRequest

TEMPLATES: Final = ("A photo of a {}", "An image of the face of a {}", "A portrait of a {}, looking at the camera")
AGES: Final = ("", "young", "middle-aged", "old")
SUBJECTS: Final = (
    "person", "adult", "human being", "neighbour", "friend", "stranger", "passenger", "tourist", "visitor", "customer",
    "villager", "resident", "parent", "relative", "pedestrian", "guest",
)  # fmt: skip
"""Prompts of the fit are all combinations of these, for each group. None names an occupation: those are judged."""


class Settings(Params):
    """Options of the projection and of the noise."""

    strength: float = Field(1.0, ge=0, le=1, description="how far embeddings move; 0: the plain images")
    noise: float = Field(0.36, ge=0, description="factor of the empirical noise")
    dimension: int | None = Field(None, ge=1, description="directions that are kept; None: all that remain")


class FairImagen(PipelineMethod):
    """Projects prompt embeddings by fair PCA and adds noise along a drawn group's direction; `:mix,noise=0.5`.

    The fit is on the pooled embeddings of prompts of its own that state the groups.
    """

    version: ClassVar[int] = 1
    method: ClassVar[str] = "fairimagen"
    pipelines: ClassVar[tuple[str, ...]] = prompt_embeddings.PIPELINES
    Options: ClassVar[type[Settings]] = Settings
    options: Settings

    def __init__(self, argument: str | None) -> None:
        super().__init__(argument)
        if len(self.groups) < 2:
            raise FairbenchError(f"--method {self.method}:{argument}: there is one group; give two or more.")

    def settings(self) -> dict[str, Any]:
        """Return target, options, and the parts of the prompts that the fit is on."""
        prompts = {"templates": list(TEMPLATES), "ages": list(AGES), "subjects": list(SUBJECTS)}
        return super().settings() | {"fit": prompts}

    def load(self, pipe: Any, arguments: Mapping[str, Any]) -> FairPca:
        """Return the fair PCA of the pooled embeddings of each group's prompts."""
        prompt_embeddings.check_width(pipe)
        clip_skip = arguments.get("clip_skip")
        embeddings = [prompt_embeddings.pooled(pipe, stated_prompts(group), clip_skip) for group in self.groups]
        return fair_pca.fit(embeddings, self.options.dimension)

    def acting(self, pipe: Any, loaded: FairPca, requests: Sequence[ImageRequest]) -> AbstractContextManager[None]:
        """Return a context in which each image's embeddings are projected and get noise of the image's own group."""
        noise = self.options.noise * np.stack([loaded.noise(*self.draw(request)) for request in requests])
        return prompt_embeddings.moved(pipe, loaded.projection, noise, self.options.strength)


def stated_prompts(group: str) -> list[str]:
    """Return the prompts of the fit that state a group, as in `A photo of a young female Asian neighbour`."""
    return [
        template.format(" ".join(filter(None, (age, group, subject))))
        for template, age, subject in itertools.product(TEMPLATES, AGES, SUBJECTS)
    ]
