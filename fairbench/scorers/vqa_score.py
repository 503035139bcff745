"""`vqa-score`: whether a model that sees the image says that it shows the prompt (Lin et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fairbench import protocols
from fairbench.cards.cards import HubModel
from fairbench.networks import weights
from fairbench.networks.vlm import VisionLanguageModel
from fairbench.scorers.clip_score import Languages, mean
from fairbench.types import BuildContext, RgbImage

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
"""Of the authors, for models that answer in a chat."""
YES = ("Yes", " Yes")
"""With and without the space that some tokenizers hold in the word; each counts where it is one token."""


class VqaScore:
    """P("Yes" | image, 'Does this figure show "PROMPT"? Please answer yes or no.'), averaged. Range: 0 to 1.

    Lin et al.: Evaluating Text-to-Visual Generation with Image-to-Text Generation (ECCV 2024). The authors recommend
    CLIP-FlanT5, a class of their own code; here it is any vision language model of transformers with a chat template,
    as LLaVA-1.5, which they evaluate, too. The probability is the softmax over all tokens of the first word of the
    answer. Nothing of a prompt is cut. Each image is asked alone. Values compare only under the same `backbone`. The
    default, LLaVA-1.5 7B, stands under the licence of Llama 2.
    """

    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="vqa-score",
        direction="higher",
        summary="VQAScore: P(Yes) to whether the image shows the prompt",
        values=("vqa_score",),
        needs_prompt=True,
    )
    version: ClassVar[int] = 1

    class Params(protocols.Params):
        """`model`: the checkpoint. `dtype`: its precision, which changes values."""

        model: HubModel = HubModel(repo="llava-hf/llava-1.5-7b-hf")
        dtype: Literal["float32", "bfloat16", "float16"] = "float32"
        languages: Languages

    def __init__(self, params: Params, ctx: BuildContext) -> None:
        """Load the model. Raises WeightsError where its weights are absent or unusable."""
        self._params, self._name = params, weights.model_name(params.model, ctx.base_dir)
        self._model = VisionLanguageModel(params.model, ctx, params.dtype)
        self._yes = self._model.tokens_of(YES)

    @property
    def backbone(self) -> str:
        """The hub's repository and commit, or the folder's name; and the precision."""
        return f"{self._name}, {self._params.dtype}"

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that the model was made for."""
        return self._params.languages

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return one value per image, shape (images, 1)."""
        values = [
            self._model.probability_of(self._yes, QUESTION.format(prompt), image)
            for image, prompt in zip(images, prompts, strict=True)
        ]
        return np.array(values, dtype=np.float32).reshape(-1, 1)

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the mean over the images; None where there is none."""
        return {"vqa_score": mean(features)}
