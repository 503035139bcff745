"""What a plug-in must offer. Each is a class (a metric: an instance) that the registry finds by name.

Adapters, detectors, crops, classifiers and scorers carry two class attributes: `Params`, a pydantic model of the
fields that a card may set (fields marked `TRANSPORT` cannot change a number and stay out of keys), and `version`, an
integer that is raised whenever the output for the same input changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic.config import JsonDict

from fairbench.config import ModelCard
from fairbench.types import BuildContext, Face, FloatArray, ImageRequest, ImageResult, LabelSchema, Prompt, RgbImage


class Params(BaseModel):
    """Base of every plug-in's parameters: unknown fields are refused."""

    model_config = {"extra": "forbid", "frozen": True, "protected_namespaces": (), "allow_inf_nan": False}


TRANSPORT: JsonDict = {"transport": True}
"""`Field(json_schema_extra=TRANSPORT)` marks a parameter that cannot change a result, such as a batch size."""


@runtime_checkable
class ImageModel(Protocol):
    """Turns requests into images. Built as `cls(card, params, ctx)`; weights are loaded on the first `generate`.

    An adapter that computes nothing in the run's dtype says `uses_dtype = False`: then dtype and block size are no part
    of the image key.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, card: ModelCard, params: Any, ctx: BuildContext) -> None: ...

    def generate(self, requests: Sequence[ImageRequest]) -> Sequence[ImageResult]:
        """Return one result a request, in order. Noise comes from each request's own seed.

        Raises OutOfMemory where the device cannot hold the block; any other fault of one image is that image's status.
        """
        ...


@runtime_checkable
class PromptSource(Protocol):
    """An adapter of images that exist already (`folder`): it says itself which prompts and images there are."""

    def prompts(self, task_prompts: Sequence[Prompt] | None) -> list[Prompt]:
        """Return the prompts that the images belong to: the task's, or its own where no task was named."""
        ...

    def requests(self, image_key: str, images_per_prompt: int | None) -> list[ImageRequest]:
        """Return one request an existing image, in prompt order, at most so many a prompt."""
        ...


class FaceDetector(Protocol):
    """Finds faces. Built as `cls(params, ctx)`."""

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return the faces of each image, best score first; an empty list where there is none."""
        ...


class Crop(Protocol):
    """Cuts a face out of its image. Built as `cls(params, ctx)`.

    A crop that reads landmarks may say `detectors = ("name",)`: those whose landmarks it understands.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def cut(self, image: RgbImage, face: Face) -> RgbImage:
        """Return the chip, at the crop's own resolution: a classifier declares and does its own resizing."""
        ...


class FaceClassifier(Protocol):
    """Labels chips. Built as `cls(params, ctx, declared)`: `declared` is the label schema of the labeller card, the
    only place where a label order is written. `schema` is the part of it that this classifier gives.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]
    schema: LabelSchema

    def __init__(self, params: Any, ctx: BuildContext, declared: LabelSchema) -> None: ...

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute of `schema`, class probabilities of shape (chips, K) in the declared order."""
        ...


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is.

    direction: which way is fairer ("none": descriptive). ideal: its value for a perfectly fair model, None where that
    depends on the reference. bounds: (lowest, highest) as a function of K is given in the docstring; here for display.
    input: "shares" (hard labels), "mean_probs" (mean class probabilities), or "faces" (share with / without a face).
    labels: the two labels, in this order, that a signed metric needs; None for any attribute.
    """

    name: str
    version: int
    direction: Literal["lower", "higher", "zero", "none"]
    bounds: str
    ideal: float | None
    summary: str
    input: Literal["shares", "mean_probs", "faces"] = "shares"
    needs_reference: bool = False
    labels: tuple[str, ...] | None = None


@runtime_checkable
class Metric(Protocol):
    """A pure function of class shares, vectorised over every leading axis (prompts, resamples)."""

    spec: MetricSpec

    def __call__(self, p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
        """Map shares p[..., K] (and a reference ref[..., K]) to values [...]; NaN shares give NaN."""
        ...


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """What a scorer is. `values` are the names of what `summarise` returns, `columns` of the leaderboard."""

    name: str
    direction: Literal["lower", "higher", "none"]
    summary: str
    values: tuple[str, ...]
    needs_prompt: bool = False


class Scorer(Protocol):
    """Looks at pixels, never at labels. Built as `cls(params, ctx)`; raises WeightsError where weights are absent."""

    spec: ClassVar[ScorerSpec]
    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    @property
    def backbone(self) -> str:
        """Model and weights, named in the output beside every value."""
        ...

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array of shape (images, D); D is 1 for a value per image."""
        ...

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the values named in `spec.values` from all features, ordered by image_id (None: too few)."""
        ...


class TextModel(Protocol):
    """Writes text; what a method may ask for."""

    def complete(self, prompt: str, seed: int) -> str:
        """Return the model's answer."""
        ...


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a method may use: the card it works on, the run seed, and a text model where the card names one."""

    card: ModelCard
    seed: int
    text_model: TextModel | None = None


class Method(Protocol):
    """A mitigation: rewrites requests, or overrides the card. Built as `cls(argument)`, the text after `name:`."""

    version: ClassVar[int]

    def __init__(self, argument: str | None) -> None: ...

    def adapt(self, card: ModelCard) -> ModelCard:
        """Return the card to generate with; the same card where the method only rewrites prompts."""
        ...

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> Sequence[str]:
        """Return one text a sample, in order. The neutral prompt stays the sample's pairing key."""
        ...


@dataclass(frozen=True, slots=True)
class PromptSample:
    """What a method sees of a request: the task's prompt, which of its samples this is, and that sample's own seed."""

    prompt: Prompt
    sample_index: int
    seed: int
