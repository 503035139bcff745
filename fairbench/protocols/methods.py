"""Mitigations, and the text models that they may ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from fairbench.types import Prompt

if TYPE_CHECKING:
    from fairbench.cards.cards import ModelCard


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
    """A mitigation: rewrites prompts, or changes the model card. Built as `cls(argument)`. See `WrapsModel` for hooks.

    argument: the text after the colon of `--method NAME:ARGUMENT`, None without one. A method that fixes how many
    samples of a prompt ask for which group, instead of drawing them independently, sets `quota = True` on the class or
    the instance: its face counts are no multinomial sample, and the run says so. `answer_tokens` on the class is the
    limit of an answer of the text model, where the default is too short.
    """

    version: ClassVar[int]

    def __init__(self, argument: str | None) -> None: ...

    def adapt(self, card: ModelCard) -> ModelCard:
        """Return the card to generate with; the same card where the method only rewrites prompts."""
        ...

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> Sequence[str]:
        """Return one text per sample, in order. Runs are still paired by the sample's neutral prompt."""
        ...


@runtime_checkable
class WrapsModel(Protocol):
    """What a method has besides that hooks the model: its images get a key of their own, which covers the method.

    needs: what the model must offer, in words, with the runtime-checkable protocol that describes it. A model whose
    adapter lacks one is refused before anything is loaded.
    """

    needs: ClassVar[Mapping[str, type]]

    def settings(self) -> Mapping[str, Any]:
        """Return plain data that stands for the argument in the image key and in run.json.

        All settings with their defaults, and the sha256 of every file that the method reads.
        """
        ...

    def wrap(self, model: Any, ctx: MethodContext) -> None:
        """Set hooks on the built adapter, once, before its first `generate`; a dry run does so too.

        No weights are loaded by then, and none may be here. Whatever the hooks draw for an image depends on its
        request's own seed alone, through `methods.common.stream`.
        """
        ...


@runtime_checkable
class WritesSystemPrompts(Protocol):
    """What a method has besides that writes what the model puts before a prompt; see `TakesSystemPrompts`."""

    def system_prompts(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> Sequence[str | None]:
        """Return one text per sample, in order; None: the model's own. Each is part of its image's id."""
        ...


@dataclass(frozen=True, slots=True)
class PromptSample:
    """What a method sees of a request: the task's prompt, the index of this sample of it, and the sample's own seed."""

    prompt: Prompt
    sample_index: int
    seed: int
