"""`clip-variety` and `inception-variety`: how far apart images are, as an encoder sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fairbench import protocols
from fairbench.networks import openclip
from fairbench.scorers.clip_score import ClipParams
from fairbench.scorers.inception_score import InceptionScore
from fairbench.stats.variety import mean_distance, unit
from fairbench.types import BuildContext, RgbImage


def _distance(features: NDArray[np.float32]) -> float | None:
    """Return the mean of 1 - cosine over pairs of images (images, D); None for fewer than two."""
    return mean_distance(unit(features.astype(np.float64))) if len(features) > 1 else None


class ClipVariety:
    """Mean of 1 - cosine over pairs of images, in the embeddings of an open_clip model. Range: 0 to 2.

    The value of all images is large where prompts differ. What it is for are the embeddings: a run that has them also
    measures how varied the pictures of each perceived group are within prompts (mean distance, and Vendi scores at
    equal numbers of images), and with --scorer-reference the Kernel Inception Distance from a reference. The encoder
    itself may tell the faces of some groups apart less well: measure the same on a reference before you blame the
    pictures. Takes the parameters of clip-score.
    """

    Params = ClipParams
    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="clip-variety",
        direction="none",
        summary="mean distance of images in CLIP embeddings; variety within groups",
        values=("clip_variety",),
        embeds=True,
    )
    version: ClassVar[int] = 1

    def __init__(self, params: ClipParams, ctx: BuildContext) -> None:
        """Load the model. Raises WeightsError where its weights are absent or unusable."""
        self._params, self._clip = params, openclip.load(params, ctx)

    @property
    def backbone(self) -> str:
        """The open_clip model and its weights."""
        return f"open_clip {self._clip.name}"

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit-norm embeddings, shape (images, D). `prompts` is not used."""
        return self._clip.image_features(images, self._params.batch_size)

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the mean distance of pairs; None for fewer than two images."""
        return {"clip_variety": _distance(features)}


class InceptionVariety(InceptionScore):
    """Mean of 1 - cosine over pairs of images, in the last pooling layer of Inception v3 (2048 numbers). Range: 0 to 1.

    As clip-variety, in the features that KID is defined on. The network is torchvision's, not the TensorFlow graph of
    2015 that published KIDs use: values do not compare with theirs. The whole image is squashed to 299 x 299.
    """

    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="inception-variety",
        direction="none",
        summary="mean distance of images in Inception features; variety within groups",
        values=("inception_variety",),
        embeds=True,
    )

    def __init__(self, params: InceptionScore.Params, ctx: BuildContext) -> None:
        """Load the weights. Raises WeightsError where they are absent or of another network."""
        from torch import nn

        super().__init__(params, ctx)
        self._width = int(self._net.fc.in_features)
        self._net.fc = nn.Identity()

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the mean distance of pairs; None for fewer than two images."""
        return {"inception_variety": _distance(features)}
