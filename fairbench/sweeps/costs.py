"""What a training costs: tokens trained and drawn, and calls of the labeller, by its settings alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairbench.sweeps.arms import Arm
from fairbench.sweeps.design import Design
from fairbench.training import capability
from fairbench.training.presets import Settings

_FROM_IMAGES = frozenset({"stated", "captions", "questions"})
"""Kinds of capability data that are made from the set's images."""
_GENERAL_IMAGES = 4
"""Images that are drawn for each general prompt."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one training uses.

    trained: tokens of the images that the loss is taken on, where an example of questions or captions counts as the
    image that is asked about. debiasing: those of them that are not capability data, which are drawn one by one, so
    that both are what is to be expected. drawn: tokens of images that a model draws, for the balanced set or in the
    training itself. labelled: images that the labeller reads for the training.
    """

    trained: float
    debiasing: float
    drawn: float
    labelled: float


def synthesised(provenance: Mapping[str, Any]) -> int:
    """Return how many images were drawn and judged to make a balanced set; 0 for one that no model made."""
    return sum(int(row["images"]) for row in provenance.get("confirmation") or ())


def uses_images(arm: Arm) -> bool:
    """Return whether an arm's training looks at the images of the set: then it pays for them."""
    parsed = capability.parsed(arm.retain)
    return arm.trainer in ("sft", "bpo") or bool(parsed and _FROM_IMAGES & {*parsed[1]})


def width(settings: Settings, groups: int) -> int:
    """Return the images of an example."""
    return {"bpo": groups, "grpo": settings.images}.get(settings.kind, 1)


def per_step(design: Design, arm: Arm, image_tokens: int) -> tuple[float, float]:
    """Return the tokens trained in a step, and those of them that are no capability data."""
    settings = design.settings(arm)
    debiasing = (1 - arm.share) * settings.batch * width(settings, len(design.set.groups)) * image_tokens
    return debiasing + arm.share * settings.batch * image_tokens, debiasing


def of_training(design: Design, arm: Arm, steps: int, image_tokens: int) -> Cost:
    """Return what a training of so many steps uses."""
    trained, debiasing = per_step(design, arm, image_tokens)
    parsed = capability.parsed(arm.retain)
    made = synthesised(design.set.provenance) if uses_images(arm) else 0
    taught = len(design.set.rows) if arm.trainer == "distill" else 0
    sampled = debiasing / image_tokens * steps if arm.trainer == "grpo" else 0.0
    general = len(capability.general_prompts()) * _GENERAL_IMAGES if parsed and "general" in parsed[1] else 0
    drawn = made + taught + sampled + general
    return Cost(trained * steps, debiasing * steps, drawn * image_tokens, made + taught + sampled)
