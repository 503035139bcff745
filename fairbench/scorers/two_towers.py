"""`siglip-score` and `pickscore`: how well an image fits its prompt, by cosines of transformers' SigLIP and CLIP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fairbench import protocols
from fairbench.cards.cards import HubModel
from fairbench.networks import two_towers
from fairbench.scorers.clip_score import Languages, mean
from fairbench.types import BuildContext, RgbImage

SIGLIP = HubModel(repo="google/siglip-base-patch16-224")
PICKSCORE = HubModel(repo="yuvalkirstain/PickScore_v1")
CLIP_H = HubModel(repo="laion/CLIP-ViT-H-14-laion2B-s32B-b79K")


class TwoTowersParams(protocols.Params):
    """`model`: the checkpoint. `processor`: where image processor and tokenizer stand, if not with the model."""

    model: HubModel
    processor: HubModel | None = None
    batch_size: int = Field(32, ge=1, json_schema_extra={**protocols.TRANSPORT})
    languages: Languages


class TwoTowersScorer(ABC):
    """One value per image from the cosine of image and prompt. A longer prompt than the model reads is reported."""

    kind: ClassVar[str]
    spec: ClassVar[protocols.ScorerSpec]
    Params: ClassVar[type[TwoTowersParams]]
    version: ClassVar[int] = 1

    def __init__(self, params: TwoTowersParams, ctx: BuildContext) -> None:
        """Load the model. Raises WeightsError where its weights are absent or unusable."""
        self._params = params
        self._towers = two_towers.load(params.model, params.processor, self.kind, ctx)

    @property
    def backbone(self) -> str:
        """The hub's repository and commit, or the folder's name."""
        return self._towers.name

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that the model was made for."""
        return self._params.languages

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether it is longer than the model reads."""
        return self._towers.cut(texts)

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return one value per image, shape (images, 1)."""
        embedded = self._towers.image_features(images, self._params.batch_size)
        cosines = (embedded * self._towers.text_features(prompts)).sum(axis=1)
        return np.asarray(self._factor() * cosines, dtype=np.float32)[:, None]

    @abstractmethod
    def _factor(self) -> float: ...

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the mean over the images; None where there is none."""
        return {self.spec.values[0]: mean(features)}


class SiglipParams(TwoTowersParams):
    """As published, unless `model` names another SigLIP checkpoint."""

    model: HubModel = SIGLIP


class SiglipScore(TwoTowersScorer):
    """100 x cos(image, prompt) of a SigLIP model, averaged over the images. Range: -100 to 100.

    Zhai et al.: Sigmoid Loss for Language Image Pre-Training (ICCV 2023). The model's own logit is a linear function of
    this cosine (scale x cosine + bias), and its probability the logit's sigmoid. The cosine is taken, as the
    probability is near 0 or 1 for most images, so that means of it speak of few. Texts are padded to the context (64
    tokens), as in training. The weights are under Apache-2.0; values compare only under the same `backbone`.
    """

    kind: ClassVar[str] = "siglip"
    Params: ClassVar[type[TwoTowersParams]] = SiglipParams
    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="siglip-score",
        direction="higher",
        summary="SigLIP score: fit of image and prompt",
        values=("siglip_score",),
        needs_prompt=True,
    )

    def _factor(self) -> float:
        return 100.0


class PickScoreParams(TwoTowersParams):
    """As published: the model of Kirstain et al. with the processor of the CLIP-H that it was trained from."""

    model: HubModel = PICKSCORE
    processor: HubModel | None = CLIP_H


class PickScore(TwoTowersScorer):
    """Logit scale x cos(image, prompt) of PickScore: which pictures people prefer. Range: about -100 to 100.

    Kirstain et al.: Pick-a-Pic (NeurIPS 2023), a CLIP-H trained on choices of people between two pictures, whose logit
    scale is about 100; published values lie near 20. A difference counts rather than a value: the softmax of two scores
    is the probability of the choice. Preferences are those of the people who chose, and may themselves favour some
    perceived groups. The authors' code is under the MIT licence; their weights on the hub name none, so look before
    you use them beyond research.
    """

    kind: ClassVar[str] = "clip"
    Params: ClassVar[type[TwoTowersParams]] = PickScoreParams
    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="pickscore",
        direction="higher",
        summary="PickScore: human preference for an image, given its prompt",
        values=("pickscore",),
        needs_prompt=True,
    )

    def _factor(self) -> float:
        return self._towers.logit_scale
