"""`clip-iqa`: the quality of an image, as CLIP's choice between two opposite prompts (Wang et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fairbench import protocols
from fairbench.scorers.clip_score import ClipParams, ClipScorer, mean
from fairbench.types import BuildContext

ANTONYMS = ("Good photo.", "Bad photo.")


class ClipIqa(ClipScorer):
    """P("Good photo." rather than "Bad photo."): a softmax over logit scale x cosine, averaged. Range: 0 to 1.

    Wang, Chan, Loy: Exploring CLIP for Assessing the Look and Feel of Images (AAAI 2023). The logit scale is the
    model's own, which is 100 in OpenAI's. The authors (and torchmetrics' default model) take a ResNet-50 without its
    positional embedding, so that an image keeps its size. Here the backbone, ViT-B/32 unless a card names another,
    sees every image after its own fixed preprocessing: values compare only under the same `backbone`, and never with
    published ones.
    """

    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="clip-iqa",
        direction="higher",
        summary="CLIP-IQA: image quality by antonym prompts",
        values=("clip_iqa",),
    )

    def __init__(self, params: ClipParams, ctx: BuildContext) -> None:
        """Load the model and embed the two prompts. Raises WeightsError where its weights are absent or unusable."""
        super().__init__(params, ctx)
        self._anchors = self._clip.text_features(ANTONYMS)

    def _values(self, embedded: NDArray[np.float64], prompts: Sequence[str]) -> NDArray[np.float64]:
        good, bad = (embedded * anchor for anchor in self._anchors)
        return np.asarray(expit(self._clip.logit_scale * (good - bad).sum(axis=1)))  # the softmax of two logits

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the mean over the images; None where there is none."""
        return {"clip_iqa": mean(features)}
