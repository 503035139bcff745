"""A run's method: how it is built, what of it enters the image key, how it hooks the model, and what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairbench import contracts, keys, registry
from fairbench.cards.cards import ModelCard
from fairbench.errors import FairbenchError, PluginError
from fairbench.networks import identity
from fairbench.notices import notice
from fairbench.protocols import (
    Method,
    MethodContext,
    PromptSample,
    TakesSystemPrompts,
    WrapsModel,
    WritesSystemPrompts,
)
from fairbench.runs.arguments import RunSettings
from fairbench.types import ImageRequest, Prompt


def build(target: str, card: ModelCard) -> tuple[Method, str, ModelCard]:
    """Return the method of NAME or NAME:ARGUMENT, its name, and the model's card as the method changes it."""
    name, _, argument = target.partition(":")
    plugin, title = registry.resolve("methods", name), registry.title("methods", name)
    with contracts.guard(title):
        method: Method = plugin(argument or None)
        adapted = method.adapt(card)
    if not isinstance(adapted, ModelCard):
        raise PluginError(f"{title} returned {type(adapted).__name__} from adapt: return a ModelCard.")
    if hasattr(method, "wrap") and not isinstance(method, WrapsModel):
        raise PluginError(f"{title} has `wrap`, but not `needs` and `settings` beside it (see docs/methods.md).")
    return method, str(getattr(method, "name", target)), adapted  # a path would make one adapter two methods


def identity_of(target: str, method: Method, card: ModelCard, adapter: Any) -> dict[str, Any] | None:
    """Return what the image key holds of a method that hooks the model; None where the method does not.

    Raises FairbenchError where the adapter lacks what the method needs. Loads nothing.
    """
    if not isinstance(method, WrapsModel):
        return None
    name = target.partition(":")[0]
    with contracts.guard(registry.title("methods", name)):
        lacking = [f"{what} (protocol {p.__name__})" for what, p in method.needs.items() if not isinstance(adapter, p)]
        settings = dict(method.settings())
        keys.canonical(settings)  # raises for what is no plain data
    if lacking:
        raise FairbenchError(
            f"--method {name} needs {' and '.join(lacking)}, which the adapter {card.adapter!r} of {card.name} does "
            "not offer: use another model or another method."
        )
    version = int(type(method).version)
    return {"type": name, "version": version, "settings": settings, **identity.source_of(name, method)}


def wrap(target: str, method: Method, adapter: Any, ctx: MethodContext) -> None:
    """Let a method that hooks the model do so, before anything is generated."""
    if isinstance(method, WrapsModel):
        with contracts.guard(registry.title("methods", target.partition(":")[0])):
            method.wrap(adapter, ctx)


def check_system_prompts(target: str, method: Method, card: ModelCard, adapter: Any) -> None:
    """Refuse a method that writes system prompts for a model that takes none. Raises FairbenchError; loads nothing."""
    if not isinstance(method, WritesSystemPrompts):
        return
    if not (isinstance(adapter, TakesSystemPrompts) and adapter.takes_system_prompts()):
        raise FairbenchError(
            f"--method {target.partition(':')[0]} writes a system prompt for each image, and {card.name} "
            f"({card.adapter}) has none that can be set for each: use another model or another method."
        )


def requests(
    settings: RunSettings, prompts: Sequence[Prompt], image_key: str, method: Method, ctx: MethodContext
) -> list[ImageRequest]:
    """Return the requests as the method words them, prompt by prompt; what it warns of is reported.

    Their ids and seeds depend on neither count, task nor order.
    """
    count, seed = settings.images_per_prompt or ctx.card.images_per_prompt, settings.seed
    samples = [PromptSample(p, j, keys.sample_seed(p.neutral_id, j, seed)) for p in prompts for j in range(count)]
    title = registry.title("methods", settings.method.partition(":")[0])
    with contracts.guard(title):
        texts = contracts.texts(title, method.rewrite(samples, ctx), len(samples))
    prompt_ids = {text: keys.prompt_id(text) for text in dict.fromkeys(texts)}  # shared by the images of a text
    made = []
    written = _system_prompts(settings.method, method, samples, ctx)
    for sample, text, before in zip(samples, texts, written, strict=True):
        prompt_id, neutral_id = prompt_ids[text], sample.prompt.neutral_id
        read = prompt_id if before is None else keys.digest("system-prompt", [prompt_id, before])
        image_id = keys.image_id(image_key, read, neutral_id, sample.seed)
        asked = (prompt_id, neutral_id, text, sample.sample_index, sample.seed)
        made.append(ImageRequest(image_id, *asked, system_prompt=before))
    for sentence in ctx.warnings:
        notice("method", sentence)
    return made


def _system_prompts(
    target: str, method: Method, samples: Sequence[PromptSample], ctx: MethodContext
) -> Sequence[str | None]:
    """Return what stands before each sample's prompt; None: the model's own text. Raises PluginError."""
    if not isinstance(method, WritesSystemPrompts):
        return [None] * len(samples)
    title = registry.title("methods", target.partition(":")[0])
    with contracts.guard(title):
        texts = list(method.system_prompts(samples, ctx))
    if len(texts) != len(samples) or not all(text is None or isinstance(text, str) for text in texts):
        raise PluginError(f"{title} returned no text or None per sample from system_prompts: return one for each.")
    return texts
