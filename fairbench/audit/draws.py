"""Image tokens drawn under neutral and attribute-specified prompts, the evidence about the language model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench import registry
from fairbench.audit import groups
from fairbench.audit.estimates import Estimate, share
from fairbench.audit.groups import Attribute
from fairbench.audit.images import label_codes
from fairbench.display.progress import Progress, Stage, blocks, watching
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.methods.common import with_group
from fairbench.protocols import TokenModel
from fairbench.runs.spec import RunSpec
from fairbench.types import ImageRequest, RgbImage

Tokens = NDArray[np.int64]
_NEUTRAL: Final[Mapping[str, Any]] = {"guidance": 1.0, "temperature": 1.0, "top_p": 1.0, "top_k": None}
"""Fields of an adapter's `Params` at which it draws from the model's own distribution."""
FAILED = -1
"""Every token of an image whose logits were not finite."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Images as tokens: P prompts, K groups, n samples per group, N tokens per image.

    texts: attribute -> for each prompt the K attribute-specified texts. tokens: attribute -> (P, K, n, N).
    """

    attributes: Sequence[Attribute]
    texts: dict[str, list[list[str]]]
    tokens: dict[str, Tokens]


def need_tokens(spec: RunSpec) -> None:
    """Raise FairbenchError where the adapter has no image tokens."""
    if not isinstance(spec.adapter, TokenModel):
        raise FairbenchError(
            f"The adapter {spec.card.adapter!r} of the model {spec.card.name} offers no image tokens (protocol "
            "TokenModel), which an audit looks into: audit a unified multimodal model, such as phantom, janus-pro-1b "
            "or emu3."
        )


def unguided(spec: RunSpec) -> TokenModel:
    """Return the model without guidance and truncation: the distribution to which its log-probabilities belong.

    An adapter that keeps its settings as `params` is copied, so that the weights are loaded once; one whose settings
    are elsewhere has a method `unguided`.
    """
    plugin = registry.resolve("adapters", spec.card.adapter)
    fields = registry.params_of(plugin).model_fields
    neutral = {name: value for name, value in _NEUTRAL.items() if name in fields}
    sampling = spec.card.sampling | neutral
    params = registry.parse_params(plugin, sampling)
    model: Any = spec.adapter
    if hasattr(model, "unguided"):
        return model.unguided()  # type: ignore[no-any-return]
    if params == registry.parse_params(plugin, spec.card.sampling):
        return model  # type: ignore[no-any-return]
    if getattr(model, "params", None) is None:
        return plugin(spec.card.model_copy(update={"sampling": sampling}), params, spec.ctx)  # type: ignore[no-any-return]
    model = copy.copy(model)
    model.params = params
    return model  # type: ignore[no-any-return]


def neutral_tokens(spec: RunSpec, progress: Progress) -> Tokens:
    """Return the tokens (P, images per prompt, N) of the run's own images."""
    tokens = _tokens(spec.adapter, spec.requests, spec.ctx.block_size, "neutral tokens", progress)
    return tokens.reshape(len(spec.prompts), -1, tokens.shape[-1])


def group_draws(
    spec: RunSpec, model: TokenModel, attributes: Sequence[Attribute], count: int, progress: Progress, stage: str
) -> Draws:
    """Draw `count` images per prompt and group of every attribute."""
    first = len(spec.requests) // len(spec.prompts)  # noise that no neutral image has
    texts, tokens = {}, {}
    for attribute in attributes:
        rows = [[with_group(prompt, [label]) for label in attribute.labels] for prompt in spec.prompts]
        requests: list[ImageRequest] = []
        for prompt, row in zip(spec.prompts, rows, strict=True):
            for text in row:
                requests += groups.requests(spec, prompt, text, first, count)
        drawn = _tokens(model, requests, spec.ctx.block_size, f"{stage}, {attribute.name}", progress)
        texts[attribute.name] = rows
        tokens[attribute.name] = drawn.reshape(len(rows), len(attribute.labels), count, -1)
    return Draws(attributes, texts, tokens)


def _tokens(
    model: TokenModel, requests: Sequence[ImageRequest], block_size: int, name: str, progress: Progress
) -> Tokens:
    with progress.stage(name, len(requests)) as bar, watching(model, bar, block_size):
        return np.concatenate([model.tokens(block) for block in blocks(requests, block_size, bar)])


@dataclass(frozen=True, slots=True)
class GroupImages:
    """Images of attribute-specified prompts.

    images: attribute -> `samples` images per prompt and group, flat, in that order; None where decoding failed.
    following: attribute -> share of these images, those without a face included, with the label that the prompt names.
    """

    samples: int
    images: dict[str, list[RgbImage | None]]
    following: dict[str, Estimate]


def decoded(model: TokenModel, draws: Draws, samples: int, labeller: Labeller, progress: Progress) -> GroupImages:
    """Decode the first `samples` images of every prompt and group, and count how many show their group."""
    images: dict[str, list[RgbImage | None]] = {}
    following = {}
    for attribute in draws.attributes:
        tokens = draws.tokens[attribute.name][:, :, :samples]
        group_codes = np.broadcast_to(np.arange(len(attribute.labels))[None, :, None], tokens.shape[:3]).ravel()
        rows = tokens.reshape(-1, tokens.shape[-1])
        with progress.stage(f"decoding, {attribute.name}", 2 * len(rows)) as bar:
            images[attribute.name] = [_decoded(model, row, bar) for row in rows]
            usable = [image for image in images[attribute.name] if image is not None]
            codes = label_codes(labeller, usable, [attribute], bar)[attribute.name]
        has_image = np.array([image is not None for image in images[attribute.name]])
        following[attribute.name] = share(int((codes == group_codes[has_image]).sum()), len(rows))
    return GroupImages(samples, images, following)


def _decoded(model: TokenModel, row: Tokens, bar: Stage) -> RgbImage | None:
    bar.advance(1)
    if row[0] == FAILED:
        return None
    try:
        return model.decode(row[None])[0]
    except FloatingPointError:
        return None
