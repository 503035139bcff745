"""The classifier `clip-zeroshot`: the nearest prompt in an open_clip model's embedding space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fairbench.errors import CardError
from fairbench.labelling.classifiers import heads
from fairbench.networks import openclip
from fairbench.networks.openclip import OpenClipParams
from fairbench.protocols import TRANSPORT
from fairbench.types import BuildContext, LabelSchema, RgbImage

Prompts = Annotated[list[str], Field(min_length=1)]


class ClipZeroShotParams(OpenClipParams):
    """What a card may set: the model, and for each attribute one or more prompts per label.

    Prompts stand under their labels' names; the order of the labels is the card's `attributes` alone.
    """

    prompts: Annotated[dict[str, dict[str, Prompts]], Field(min_length=1)]
    batch_size: int = Field(64, ge=1, le=4096, json_schema_extra={**TRANSPORT})


class ClipZeroShotClassifier:
    """P(label) = softmax over labels of (the model's logit scale x cosine of image and label).

    A label's embedding is the mean of its prompts' unit-norm embeddings, scaled back to unit norm (Radford et al.
    2021, section 3.1.4). Raises WeightsError, and CardError where prompts and declared labels differ.
    """

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = ClipZeroShotParams

    def __init__(self, params: ClipZeroShotParams, ctx: BuildContext, declared: LabelSchema) -> None:
        self.schema = heads.declared_part(params.prompts, declared)
        for name, labels in self.schema.labels.items():
            _same_labels(name, params.prompts[name], labels)
        self._batch_size = params.batch_size
        self._clip = openclip.load(params, ctx)
        declared_labels = self.schema.labels.items()
        self._labels = {name: self._label_features(params.prompts[name], labels) for name, labels in declared_labels}

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute, class probabilities of shape (chips, K) in the declared order."""
        if not chips:
            return heads.empty(self.schema)
        # In double precision, so that a chip's logits round alike however many chips there are.
        features = self._clip.image_features(chips, self._batch_size).astype(np.float64)
        scale = self._clip.logit_scale
        return {
            name: heads.probabilities(scale * features @ vectors.T, name, heads.Head(), self.schema)
            for name, vectors in self._labels.items()
        }

    def _label_features(self, prompts: Mapping[str, list[str]], labels: Sequence[str]) -> NDArray[Any]:
        """Return unit-norm label embeddings (K, D) in the declared order."""
        means = np.stack([self._clip.text_features(prompts[label]).mean(axis=0, dtype=np.float64) for label in labels])
        unit: NDArray[Any] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit


def _same_labels(attribute: str, prompts: Mapping[str, Any], labels: Sequence[str]) -> None:
    missing = [label for label in labels if label not in prompts]
    unknown = [label for label in prompts if label not in labels]
    if missing or unknown:
        problem = (
            f"none for the label {missing[0]!r}" if missing else f"some for {unknown[0]!r}, which is no label of it"
        )
        raise CardError(f"prompts.{attribute}: there are {problem}; give prompts for {', '.join(labels)}.")
