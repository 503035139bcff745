"""Which attributes an audit looks at, and requests for images of prompts that name a group."""

from __future__ import annotations

from dataclasses import dataclass

from fairbench import keys
from fairbench.cards.cards import LabellerCard
from fairbench.runs.spec import RunSpec
from fairbench.types import ImageRequest, Prompt


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that is audited, with its declared labels."""

    name: str
    labels: tuple[str, ...]


def attributes(card: LabellerCard) -> list[Attribute]:
    """Return the attributes that the labeller's crosses name, in their order; all of them where it has no cross."""
    names = dict.fromkeys(name for cross in card.crosses for name in cross) or dict.fromkeys(card.attributes)
    return [Attribute(name, tuple(card.attributes[name].labels)) for name in names]


def requests(spec: RunSpec, prompt: Prompt, text: str, first: int, count: int) -> list[ImageRequest]:
    """Return `count` requests for `text`, with noise that no neutral image of the run has.

    The noise depends on prompt and sample alone, so sample i of one group differs from sample i of another only by the
    words of its prompt. first: the first sample index.
    """
    prompt_id = keys.prompt_id(text)
    image_requests = []
    for index in range(first, first + count):
        seed = keys.sample_seed(prompt.neutral_id, index, spec.settings.seed)
        image_id = keys.image_id(spec.image_key, prompt_id, prompt.neutral_id, seed)
        image_requests.append(ImageRequest(image_id, prompt_id, prompt.neutral_id, text, index, seed))
    return image_requests
