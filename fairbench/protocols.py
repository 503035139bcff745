"""What a plug-in must offer. Each is a class (a metric: an instance) that the registry finds by name.

Adapters, detectors, crops, classifiers and scorers carry two class attributes: `Params`, a pydantic model of the
fields that a card may set (fields marked `TRANSPORT` cannot change a number and stay out of keys; a plug-in without
`Params` takes none), and `version`, an integer that is raised whenever the output for the same input changes.
contracts.py checks third parties' plug-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fairbench.strict import LATER as LATER
from fairbench.strict import TRANSPORT as TRANSPORT
from fairbench.strict import StrictModel
from fairbench.types import BuildContext, Face, FloatArray, ImageRequest, ImageResult, LabelSchema, Prompt, RgbImage

if TYPE_CHECKING:
    from fairbench.cards.cards import ModelCard


class Params(StrictModel):
    """Base of every plug-in's parameters: unknown fields are refused, and a truth value is no number."""


@runtime_checkable
class ImageModel(Protocol):
    """Turns requests into images. Built as `cls(card, params, ctx)`; weights are loaded on the first `generate`.

    An adapter that computes nothing in the run's dtype says `uses_dtype = False`: then dtype and block size are no part
    of the image key. What stands behind `--model NAME:` names weights; an adapter that takes something else there says
    in `target` which field of its Params holds it, as in `target = "path"`.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, card: ModelCard, params: Any, ctx: BuildContext) -> None: ...

    def generate(self, requests: Sequence[ImageRequest]) -> Sequence[ImageResult]:
        """Return one result a request, in order. Noise comes from each request's own seed.

        Pixels are height x width x 3: uint8, floats from 0 to 1, or a PIL image; a bare image stands for an ok result.

        Raises OutOfMemory where the device cannot hold the block; any other fault of one image is that image's status.
        """
        ...


@runtime_checkable
class TokenModel(Protocol):
    """What an adapter of a unified model offers besides `generate`: its image tokens and what it thinks of them.

    Audits and training need it; an adapter without it is measured by `run` alone.
    """

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return image tokens (images, N)."""
        ...

    def decode(self, tokens: NDArray[np.int64]) -> list[RgbImage]:
        """Return the images of tokens (images, N)."""
        ...

    def tokens(self, requests: Sequence[ImageRequest]) -> NDArray[np.int64]:
        """Draw the image tokens (requests, N) that `generate` would decode; a row of -1 where that failed."""
        ...

    def log_probs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log p(token | text, tokens before it), (rows, N): guidance 1, temperature 1, no truncation."""
        ...

    def embed(self, images: Sequence[RgbImage]) -> FloatArray:
        """Return the vision encoder's embeddings (images, hidden)."""
        ...


@runtime_checkable
class UnderstandingModel(Protocol):
    """What an adapter of a unified model offers besides `generate`: answers to questions."""

    def answer(
        self, questions: Sequence[str], images: Sequence[RgbImage | None], seeds: Sequence[int] | None = None, *,
        temperature: float = 1.0, top_p: float = 1.0, limit: int = 32,
    ) -> list[str]:  # fmt: skip
        """Return one answer a question. images: None asks in text alone; seeds: None takes the likeliest words."""
        ...


@runtime_checkable
class ReportsProgress(Protocol):
    """What an adapter may offer, so that a slow model is seen to move within a block."""

    on_progress: Callable[[float], None]
    """Set by the caller of `generate` or `tokens`; before that it does nothing. The adapter calls it now and then with
    the share of the current call that is done, from 0 to 1."""


@runtime_checkable
class EffectiveSettings(Protocol):
    """What an adapter of images may offer: the settings that it in fact works with, for run.json."""

    def effective_settings(self) -> dict[str, Any]:
        """Return plain data: sampling settings with their defaults, and the sha256 of a local model's files.

        Asked after the images are made, or where none had to be. Loads no weights: what only a loaded model knows is
        None then.
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
    depends on the reference. bounds: the range as a formula of K, for display. limits: the same as a function, K ->
    (lowest, highest) value, at which intervals are cut; None cuts none.
    input: "shares" (hard labels), "mean_probs" (mean class probabilities), "faces" (share with / without a face), or
    "stated" (share of faces that show / do not show what their prompt states).
    labels: the two labels, in this order, that a signed metric needs; None for any attribute.
    """

    name: str
    version: int
    direction: Literal["lower", "higher", "zero", "none"]
    bounds: str
    ideal: float | None
    summary: str
    input: Literal["shares", "mean_probs", "faces", "stated"] = "shares"
    needs_reference: bool = False
    labels: tuple[str, ...] | None = None
    limits: Callable[[int], tuple[float, float]] | None = None


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
    """Looks at pixels, never at labels. Built as `cls(params, ctx)`; raises WeightsError where weights are absent.

    One that reads prompts may have `cut(texts) -> list[bool]`, which texts its own tokenizer cuts, and `languages`, the
    codes of the languages that it reads ("*" for any): prompts that it does not read as written are then reported.
    """

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
    """Writes text; what a method may ask for. Nothing is loaded before it is asked."""

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return one answer a prompt, in order; each is drawn from its own seed and depends on no other row."""
        ...


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a method may use: the card it works on, the run seed, and a text model where there is one.

    warnings: a method adds sentences that whoever reads the run's numbers has to know.
    """

    card: ModelCard
    seed: int
    text_model: TextModel | None = None
    warnings: list[str] = field(default_factory=list)


class Method(Protocol):
    """A mitigation: rewrites requests, or overrides the card. Built as `cls(argument)`, the text after `name:`.

    A method that fixes how many samples of a prompt ask for which group, instead of drawing them independently, says
    `quota = True` (on the class or the instance): its face counts are no multinomial sample, and the run marks that.
    """

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
