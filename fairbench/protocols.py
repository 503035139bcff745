"""What a plug-in must offer. Each is a class (a metric: an instance) that the registry finds by its name.

Adapters, detectors, crops, classifiers and scorers have two class attributes:

- `version`, an integer. Raise it whenever the output for the same input changes: stored results are then made again.
- `Params`, a pydantic model of the fields that a card may set. A plug-in without `Params` takes no parameters. Fields
  marked `TRANSPORT` cannot change a number and stay out of keys; fields marked `LATER` were added after a release.

contracts.py checks third-party plug-ins.
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
    from fairbench.storage.spool import Spool


class Params(StrictModel):
    """Base of every plug-in's parameters: refuses unknown fields, and a truth value where a number is expected."""


@runtime_checkable
class ImageModel(Protocol):
    """Turns requests into images: an adapter. Built as `cls(card, params, ctx)`; loads weights on the first `generate`.

    Two optional class attributes: `uses_dtype = False` for an adapter that computes nothing in the run's dtype, so that
    dtype and block size stay out of the image key; and `target`, the field of `Params` that receives what stands after
    the colon of `--model NAME:TARGET`, as in `target = "path"`. Without it that names the weights.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, card: ModelCard, params: Any, ctx: BuildContext) -> None: ...

    def generate(self, requests: Sequence[ImageRequest]) -> Sequence[ImageResult]:
        """Return one result per request, in order. Draw an image's noise from its request's own seed.

        Pixels are height x width x 3: uint8, floats from 0 to 1, or a PIL image. A bare image stands for an ok result.
        Raise OutOfMemory where the device cannot hold the block; report any other failure of an image in its status.
        """
        ...


@runtime_checkable
class TokenModel(Protocol):
    """What the adapter of a unified model may offer besides `generate`: image tokens and their probabilities.

    `audit` needs it, and `train` with `Trainable` besides; an adapter without it can only be measured by `run`. The
    audit also draws from the model's own distribution: it sets the fields of `Params` named guidance, temperature and
    top_p to 1, and top_k to None; an adapter whose settings stand elsewhere has a method `unguided() -> TokenModel`.
    """

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return the image tokens (images, N) of images."""
        ...

    def decode(self, tokens: NDArray[np.int64]) -> list[RgbImage]:
        """Return the images of tokens (images, N)."""
        ...

    def tokens(self, requests: Sequence[ImageRequest]) -> NDArray[np.int64]:
        """Draw the image tokens (requests, N) that `generate` would decode. A row of -1 stands for a failure."""
        ...

    def log_probs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log p(token | text, tokens before it), (rows, N), at guidance 1, temperature 1, without truncation."""
        ...


@runtime_checkable
class EmbeddingModel(Protocol):
    """What the adapter of a model with a vision encoder may offer besides `generate`: how it sees images."""

    def embed(self, images: Sequence[RgbImage]) -> FloatArray:
        """Return the vision encoder's embeddings (images, hidden)."""
        ...


@runtime_checkable
class UnderstandingModel(Protocol):
    """What the adapter of a unified model may offer besides `generate`: answers to questions."""

    def answer(
        self,
        questions: Sequence[str],
        images: Sequence[RgbImage | None],
        seeds: Sequence[int] | None = None,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        limit: int = 32,
    ) -> list[str]:
        """Return one answer per question, of at most `limit` tokens.

        images: None for a question in text alone. seeds: one per question; None takes the most probable tokens.
        """
        ...


@runtime_checkable
class Trainable(TokenModel, Protocol):
    """What an adapter whose network is a torch module here may offer, so that `train` can fine-tune it.

    Its constructor loads no weights, as any adapter's. Scorers and inputs belong together:
    `scorer(*inputs)` gives log-probabilities in float32, through which gradients flow.
    """

    def image_reading(self) -> Any:
        """Return plain data that changes whenever `encode` gives other tokens for the same image and weights."""
        ...

    def text_format(self) -> str | None:
        """Return what is put around a prompt, which stands for its {text}; None: what the checkpoint itself says."""
        ...

    def network(self) -> Any:
        """Return the frozen torch module whose layers a low-rank adapter changes in place; loads the weights."""
        ...

    def language_model(self) -> Any:
        """Return the part of the network whose layers gradient checkpointing computes twice."""
        ...

    def token_scorer(self) -> Any:
        """Return a torch module around the network that gives log p of image tokens, (rows, N)."""
        ...

    def token_inputs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return its inputs, for image tokens (rows, N), each row under its own text."""
        ...


@runtime_checkable
class TrainableAnswers(Protocol):
    """What a `Trainable` adapter may offer besides, for the control `train i2t`: log-probabilities of answers."""

    def answer_scorer(self) -> Any:
        """Return a torch module around the network that gives log p of an answer's words, (rows, longest answer)."""
        ...

    def answer_inputs(
        self, question: str, answers: Sequence[str], images: Sequence[RgbImage]
    ) -> tuple[tuple[Any, ...], list[int]]:
        """Return its inputs, an image and an answer per row, and the tokens of each answer: the last ones of its row.

        The end-of-text token is an answer's last.
        """
        ...


@runtime_checkable
class ReportsProgress(Protocol):
    """What an adapter may offer, so that a slow model is seen to move within a block."""

    on_progress: Callable[[float], None]
    """Set by the caller of `generate` or `tokens`; before that it does nothing. The adapter calls it now and then with
    the share of the current call that is done, from 0 to 1."""


@runtime_checkable
class Served(Protocol):
    """What the adapter of a served model offers besides: what images cost, and that no response is lost.

    price_per_image: in US dollars; None: not known. size: width and height of its images; None: not known. max_cost:
    set by the caller of `generate`, which then raises FairbenchError before more is spent. spool: set by the caller;
    each response is kept there before anything else is done, and is not asked for again while it is there.
    """

    price_per_image: float | None
    size: tuple[int, int] | None
    max_cost: float | None
    spool: Spool | None

    def seconds_for(self, images: int, each: float | None) -> float | None:
        """Return how long so many images take. each: seconds of one request, as measured; None: not known."""
        ...


@runtime_checkable
class EffectiveSettings(Protocol):
    """What an adapter may offer: the settings that it really uses, for run.json."""

    def effective_settings(self) -> dict[str, Any]:
        """Return plain data: sampling settings with their defaults, and the sha256 of a local model's files.

        Called when the images are made, also where the store held all of them. It must not load weights: a setting
        that only a loaded model knows is then None.
        """
        ...


@runtime_checkable
class SaysWhatIsMissing(Protocol):
    """What an adapter may offer: what has to be done before it can generate, for `fairbench run --dry-run`."""

    def missing(self) -> list[str]:
        """Return a sentence for each thing that is missing, beginning with its name, as in "key: set OPENAI_API_KEY".

        It neither loads anything nor uses the network. The card's own `weights` are looked for by the caller.
        """
        ...


@runtime_checkable
class Reachable(Protocol):
    """What the adapter of a served model may offer: whether its server is there, for `fairbench doctor --reach`."""

    def reach(self) -> str:
        """Ask the server, drawing nothing, and return in words that it answers. Raises FairbenchError."""
        ...


@runtime_checkable
class PromptSource(Protocol):
    """An adapter of images that exist already, such as `folder`: it says which prompts and images there are."""

    def prompts(self, task_prompts: Sequence[Prompt] | None) -> list[Prompt]:
        """Return the prompts that the images belong to: the task's, or its own where no task was named."""
        ...

    def requests(self, image_key: str, images_per_prompt: int | None) -> list[ImageRequest]:
        """Return one request per existing image, in prompt order, at most `images_per_prompt` of each prompt."""
        ...


class FaceDetector(Protocol):
    """Finds the faces of images. Built as `cls(params, ctx)`."""

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        """Return the faces of each image, highest score first; an empty list for an image without a face."""
        ...


class Crop(Protocol):
    """Cuts a face out of its image. Built as `cls(params, ctx)`.

    A crop that reads landmarks names the detectors whose landmarks it understands, as in `detectors = ("dlib",)`.
    """

    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def cut(self, image: RgbImage, face: Face) -> RgbImage:
        """Return the chip at the crop's own resolution; classifiers resize it as they need it."""
        ...


class FaceClassifier(Protocol):
    """Labels chips. Built as `cls(params, ctx, declared)`.

    declared: the label schema of the labeller card, the only place where the order of labels is written. schema: the
    part of it that this classifier gives.
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

    version: raise it whenever a value changes. direction: which way is fairer ("none": the metric only describes).
    bounds: the range as a formula of K, for display. limits: the same as a function, K -> (lowest, highest) value, at
    which intervals are cut; None cuts none. ideal: the value of a perfectly fair model, None where that depends on the
    reference. input: "shares" (hard labels), "mean_probs" (mean class probabilities), "faces" (shares of images with
    and without a face), or "stated" (shares of faces that show and do not show what their prompt states).
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

    def __call__(self, p: FloatArray, /, ref: FloatArray | None = None) -> FloatArray:
        """Map shares p[..., K] (and a reference ref[..., K]) to values [...]; NaN shares give NaN."""
        ...


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """What a scorer is.

    values: names of the values that `summarise` returns, which are columns of the leaderboard. direction: which way is
    better. needs_prompt: whether `features` reads the prompts.
    """

    name: str
    direction: Literal["lower", "higher", "none"]
    summary: str
    values: tuple[str, ...]
    needs_prompt: bool = False


class Scorer(Protocol):
    """Scores the quality of images from pixels and prompts, never from labels. Built as `cls(params, ctx)`.

    The constructor raises WeightsError where weights are absent. A scorer that reads prompts may have
    `cut(texts) -> list[bool]` (which texts its tokenizer cuts) and `languages` (codes of the languages that it reads,
    "*" for any): prompts that it does not read as written are then reported.
    """

    spec: ClassVar[ScorerSpec]
    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    @property
    def backbone(self) -> str:
        """Model and weights, shown beside every value."""
        ...

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array of shape (images, D); D is 1 for a value per image."""
        ...

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the values named in `spec.values` from all features, ordered by image id; None for too few images."""
        ...


class TextModel(Protocol):
    """Writes text, for methods that ask for it. It loads its weights on first use."""

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return one answer per prompt, in order; each is drawn from its own seed and depends on no other row."""
        ...


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a method may use: the model card, the run seed, and a text model where there is one.

    warnings: a method adds the sentences that a reader of the run's numbers has to know.
    """

    card: ModelCard
    seed: int
    text_model: TextModel | None = None
    warnings: list[str] = field(default_factory=list)


class Method(Protocol):
    """A mitigation: rewrites prompts, or changes the model card. Built as `cls(argument)`.

    argument: the text after the colon of `--method NAME:ARGUMENT`, None without one. A method that fixes how many
    samples of a prompt ask for which group, instead of drawing them independently, sets `quota = True` on the class or
    the instance: its face counts are no multinomial sample, and the run says so.
    """

    version: ClassVar[int]

    def __init__(self, argument: str | None) -> None: ...

    def adapt(self, card: ModelCard) -> ModelCard:
        """Return the card to generate with; the same card where the method only rewrites prompts."""
        ...

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> Sequence[str]:
        """Return one text per sample, in order. Runs are still paired by the sample's neutral prompt."""
        ...


@dataclass(frozen=True, slots=True)
class PromptSample:
    """What a method sees of a request: the task's prompt, the index of this sample of it, and the sample's own seed."""

    prompt: Prompt
    sample_index: int
    seed: int
