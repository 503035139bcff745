"""Which groups an audit asks for, in which words, and the attribute-specified prompts that name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairbench import keys
from fairbench.cards import catalog
from fairbench.cards.cards import LabellerCard
from fairbench.runs.spec import Plan
from fairbench.types import ImageRequest, Prompt

WORDS: Mapping[str, str] = {"WMELH": "White"}
"""The word that a prompt uses for a label, where it is not the label itself (the groups of Liu et al.)."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that is audited: its declared labels, and for each the word that a prompt uses."""

    name: str
    labels: tuple[str, ...]
    words: tuple[str, ...]


def attributes(card: LabellerCard) -> list[Attribute]:
    """Return the attributes that the labeller's crosses name, in their order; all of them where it has no cross."""
    names = dict.fromkeys(name for cross in card.crosses for name in cross) or dict.fromkeys(card.attributes)
    found = []
    for name in names:
        labels = tuple(card.attributes[name].labels)
        found.append(Attribute(name, labels, tuple(WORDS.get(x, x.replace("_", " ")) for x in labels)))
    return found


def templates(plan: Plan) -> dict[str, str]:
    """Return template id -> text of the plan's task. Raises CardError where it has none."""
    return {t.id: t.text for t in catalog.load_task(plan.settings.task or plan.task).card.templates}


def named(template: str, subject: str, word: str) -> str:
    """Return the attribute-specified prompt.

    >>> named("A photo of the face of a {subject}, a person", "nurse", "female")
    'A photo of the face of a female nurse, a person'
    """
    return template.replace("{subject}", f"{word} {subject}")


def requests(plan: Plan, prompt: Prompt, text: str, first: int, count: int) -> list[ImageRequest]:
    """Return `count` requests for `text`, with noise that no neutral image of the run has.

    The noise depends on prompt and sample alone, so sample i of every group differs from the others by its words only.
    """
    found = []
    for index in range(first, first + count):
        seed = keys.sample_seed(prompt.neutral_id, index, plan.settings.seed)
        pid = keys.prompt_id(text)
        image = keys.image_id(plan.image_key, pid, prompt.neutral_id, seed)
        found.append(ImageRequest(image, pid, prompt.neutral_id, text, index, seed))
    return found


def subjects(prompts: Sequence[Prompt]) -> list[str]:
    """Return the different subjects, in order."""
    return list(dict.fromkeys(p.subject for p in prompts))
