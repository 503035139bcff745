"""Short names of a run's prompts, by which tables, charts and pages tell them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from fairbench.types import Prompt


def _stated(prompt: Prompt) -> str:
    return " ".join(prompt.stated.values())


_TELLING: Final = (lambda p: p.form, lambda p: p.category, _stated, lambda p: p.template_id)
"""What may tell prompts of one subject apart, the most telling first."""


def of_prompts(prompts: Sequence[Prompt]) -> list[str]:
    """Return a name for each prompt, no two alike: its subject, and where several have that, what tells them apart.

    A subject in another language has its concept beside it, as "Pflegerin (nurse)". A prompt whose subject is empty, or
    that nothing but its text tells from another, is called by its text.
    """
    of_subject: dict[str, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        of_subject[prompt.subject].append(index)
    names = [_called(prompt) if prompt.subject else prompt.text for prompt in prompts]
    for subject, indices in of_subject.items():
        if len(indices) > 1 and subject:
            for index, detail in zip(indices, _details([prompts[i] for i in indices]), strict=True):
                names[index] = _called(prompts[index], detail) if detail else prompts[index].text
    # What another prompt is called, too, or says, is no name; texts differ.
    uses = Counter(name for p, chosen in zip(prompts, names, strict=True) for name in {chosen, p.text})
    return [name if uses[name] == 1 else p.text for p, name in zip(prompts, names, strict=True)]


def _called(prompt: Prompt, detail: str = "") -> str:
    concept = "" if prompt.concept.casefold() in prompt.subject.casefold() else prompt.concept
    told = ", ".join(filter(None, (concept, detail)))
    return f"{prompt.subject} ({told})" if told else prompt.subject


def _details(prompts: Sequence[Prompt]) -> list[str]:
    """Return what tells prompts of one subject apart, a different text for each; empty texts where nothing does."""
    for telling in _TELLING:
        details = [telling(prompt) for prompt in prompts]
        if all(details) and len(set(details)) == len(details):
            return details
    return [""] * len(prompts)
