"""Adapters: what makes images, and what an adapter may say of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from fairbench.types import BuildContext, ImageRequest, ImageResult, Prompt

if TYPE_CHECKING:
    from fairbench.cards.cards import ModelCard
    from fairbench.storage.spool import Spool


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
class CallsPipeline(Protocol):
    """What an adapter of diffusers pipelines offers, for methods that act inside a pipeline's calls.

    during_call: a method sets it to a function of the loaded pipeline and the requests of one call, one per row (the
    last may stand several times, as padding), that returns the context in which the pipeline is called.
    """

    during_call: Callable[[Any, Sequence[ImageRequest]], AbstractContextManager[None]]

    def pipeline(self) -> tuple[str | None, Mapping[str, Any]]:
        """Return the pipeline's class as its files name it, and the arguments of its call; nothing is loaded.

        The class is None while the files are not on this machine.
        """
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
class TakesSystemPrompts(Protocol):
    """What an adapter may offer: that each request has a system prompt of its own, `ImageRequest.system_prompt`."""

    def takes_system_prompts(self) -> bool:
        """Return whether this model has one that can be set. It loads nothing: True where only loading tells."""
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
