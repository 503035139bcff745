"""Image tokens drawn under neutral and attribute-specified prompts: what the language model is judged by."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench import registry
from fairbench.audit import groups
from fairbench.audit.estimates import Estimate, share
from fairbench.audit.groups import Attribute
from fairbench.audit.images import Codes, labelled
from fairbench.display.progress import Progress, Stage
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.protocols import TokenModel
from fairbench.runs.spec import Plan
from fairbench.types import ImageRequest, RgbImage

Tokens = NDArray[np.int64]
FAILED = -1
"""What an image whose logits were not finite consists of."""


@dataclass(frozen=True, slots=True)
class Draws:
    """P prompts, n samples a group, N tokens an image.

    texts: attribute -> for each prompt the K attribute-specified texts. tokens: attribute -> (P, K, n, N).
    """

    texts: dict[str, list[list[str]]]
    tokens: dict[str, Tokens]


def unguided(plan: Plan) -> TokenModel:
    """Return the plan's model at guidance 1 and temperature 1: the distribution that its log-probabilities speak of.

    An adapter that keeps its settings as `params` is copied, so that the weights are loaded once.
    """
    plugin = registry.resolve("adapters", plan.card.adapter)
    own = {name: 1.0 for name in ("guidance", "temperature") if name in registry.params_of(plugin).model_fields}
    params = registry.parse_params(plugin, plan.card.sampling | own)
    if params == registry.parse_params(plugin, plan.card.sampling):
        model: TokenModel = plan.adapter
    elif getattr(plan.adapter, "params", None) is not None:
        changed: Any = copy.copy(plan.adapter)
        changed.params = params
        model = changed
    else:
        model = plugin(plan.card.model_copy(update={"sampling": plan.card.sampling | own}), params, plan.ctx)
    return model


def neutral(plan: Plan, progress: Progress) -> Tokens:
    """Return the tokens (P, images a prompt, N) of the run's own images."""
    tokens = _tokens(plan.adapter, plan.requests, plan.ctx.block_size, "neutral tokens", progress)
    return tokens.reshape(len(plan.prompts), -1, tokens.shape[-1])


def stated(
    plan: Plan, model: TokenModel, wanted: Sequence[Attribute], count: int, progress: Progress, what: str
) -> Draws:
    """Draw `count` images a prompt and group of every attribute."""
    templates = groups.templates(plan)
    first = len(plan.requests) // len(plan.prompts)  # noise that no neutral image has
    texts, tokens = {}, {}
    for attribute in wanted:
        rows = [[groups.named(templates[p.template_id], p.subject, w) for w in attribute.words] for p in plan.prompts]
        asked: list[ImageRequest] = []
        for prompt, named in zip(plan.prompts, rows, strict=True):
            for text in named:
                asked += groups.requests(plan, prompt, text, first, count)
        drawn = _tokens(model, asked, plan.ctx.block_size, f"{what}, {attribute.name}", progress)
        texts[attribute.name] = rows
        tokens[attribute.name] = drawn.reshape(len(rows), len(attribute.words), count, -1)
    return Draws(texts, tokens)


def _tokens(model: TokenModel, asked: Sequence[ImageRequest], block: int, what: str, progress: Progress) -> Tokens:
    found = []
    with progress.stage(what, len(asked)) as bar:
        for start in range(0, len(asked), block):
            found.append(model.tokens(asked[start : start + block]))
            bar.advance(len(found[-1]))
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Shown:
    """Images of attribute-specified prompts.

    images: attribute -> for each prompt and group `each` images, flat, in that order; None where decoding failed.
    following: attribute -> share of them that a labeller reads as the group that the prompt names.
    """

    each: int
    images: dict[str, list[RgbImage | None]]
    following: dict[str, Estimate]


def show(
    model: TokenModel, draws: Draws, each: int, wanted: Sequence[Attribute], labeller: Labeller, progress: Progress
) -> Shown:
    """Decode the first `each` samples of every prompt and group, and count how many show their group.

    `following`: attribute -> share of these images, those without a face included, that are read as the group asked
    for.
    """
    images: dict[str, list[RgbImage | None]] = {}
    following = {}
    for attribute in wanted:
        tokens = draws.tokens[attribute.name][:, :, :each]
        asked = np.broadcast_to(np.arange(len(attribute.labels))[None, :, None], tokens.shape[:3]).ravel()
        rows = tokens.reshape(-1, tokens.shape[-1])
        with progress.stage(f"decoding, {attribute.name}", 2 * len(rows)) as bar:
            images[attribute.name] = [_decoded(model, row, bar) for row in rows]
            there = [i for i, image in enumerate(images[attribute.name]) if image is not None]
            shown = [image for image in images[attribute.name] if image is not None]
            read: Codes = labelled(labeller, shown, [attribute], bar)[attribute.name]
        following[attribute.name] = share(int((read == asked[there]).sum()), len(rows))
    return Shown(each, images, following)


def _decoded(model: TokenModel, row: Tokens, bar: Stage) -> RgbImage | None:
    bar.advance(1)
    if row[0] == FAILED:
        return None
    try:
        return model.decode(row[None])[0]
    except FloatingPointError:
        return None


def checked(plan: Plan) -> Plan:
    """Return the plan. Raises FairbenchError where its adapter has no image tokens."""
    if not isinstance(plan.adapter, TokenModel):
        raise FairbenchError(
            f"The adapter {plan.card.adapter!r} of the model {plan.card.name} offers no image tokens (protocol "
            "TokenModel), which an audit looks into: audit a unified multimodal model, such as phantom or janus-pro-1b."
        )
    return plan
