"""`clip-score`: how well an image fits its prompt, by the cosine of their CLIP embeddings (Hessel et al. 2021)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fairbench import protocols
from fairbench.networks import openclip
from fairbench.types import BuildContext, RgbImage

OPENAI_VIT_B_32 = {
    "model": "ViT-B-32-quickgelu",
    "weights": {
        "repo": "timm/vit_base_patch32_clip_224.openai",
        "revision": "a6f597a30f7b82c51704746581f9a4e41421e878",
        "file": "open_clip_model.safetensors",
        "sha256": "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
    },
}
"""OpenAI's ViT-B/32, the backbone of Hessel et al., as safetensors. Its activation is the quick GELU."""

_SOURCES = frozenset({"model", "weights", "repo", "path"})

Languages = Annotated[
    list[str],
    Field(
        default_factory=lambda: ["en"],
        description="codes of the languages that the model reads, * for any; other prompts are reported",
        json_schema_extra={**protocols.TRANSPORT},
    ),
]


class ClipParams(openclip.OpenClipParams):
    """The open_clip model; OpenAI's ViT-B/32 where none is named."""

    batch_size: int = Field(32, ge=1, json_schema_extra={**protocols.TRANSPORT})
    languages: Languages

    @model_validator(mode="before")
    @classmethod
    def _default_model(cls, params: Any) -> Any:
        if isinstance(params, dict) and not params.keys() & _SOURCES:
            return {**params, **OPENAI_VIT_B_32}
        return params


class ClipScorer(ABC):
    """What the scorers on an open_clip model share: one value per image, in float32, a batch at a time."""

    Params = ClipParams
    version: ClassVar[int] = 1

    def __init__(self, params: ClipParams, ctx: BuildContext) -> None:
        """Load the model. Raises WeightsError where its weights are absent or unusable."""
        self._params = params
        self._clip = openclip.load(params, ctx)

    @property
    def backbone(self) -> str:
        """The open_clip model, its weights (commit, or sha256) and, for a single file, the hub repository it is of."""
        file = self._params.weights
        return f"open_clip {self._clip.name}{f' of {file.repo}' if file and file.repo else ''}"

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return one value per image, shape (images, 1)."""
        embedded = self._clip.image_features(images, self._params.batch_size)
        # In double precision, so that sums over the embedding round alike however many images there are.
        return self._values(embedded.astype(np.float64), prompts).astype(np.float32)[:, None]

    @abstractmethod
    def _values(self, embedded: NDArray[np.float64], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Map unit-norm image embeddings (n, D) and their prompts to n values."""


def mean(features: NDArray[np.float32]) -> float | None:
    """Return the mean of the values of shape (images, 1), None where there is no image."""
    return float(features.mean(dtype=np.float64)) if len(features) else None


class ClipScore(ClipScorer):
    """100 x max(cos(image, prompt), 0), averaged over the images. Range: 0 to 100.

    Hessel et al. (2021) weigh the same cosine by 2.5 and prefix the text with "A photo depicts"; the literature on
    image generation, and this scorer, take 100 and the prompt as it is. The image gets the model's own preprocessing
    (for OpenAI's models: shorter side to 224 pixels, bicubic, then the central square). As everywhere in open_clip, a
    prompt longer than the model's context (77 tokens) is cut off there.
    """

    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="clip-score",
        direction="higher",
        summary="CLIP score: fit of image and prompt",
        values=("clip_score",),
        needs_prompt=True,
    )

    def _values(self, embedded: NDArray[np.float64], prompts: Sequence[str]) -> NDArray[np.float64]:
        cosines = (embedded * self._clip.text_features(prompts)).sum(axis=1)
        return np.asarray(100.0 * np.maximum(cosines, 0.0))

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that the model was made for."""
        return self._params.languages

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether the model's tokenizer cuts it: what stands behind the cut is not compared."""
        return self._clip.cut(texts)

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the mean over the images; None where there is none."""
        return {"clip_score": mean(features)}
