"""What a training did to the understanding side: does it still name what it sees, and does it answer by stereotype?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from fairbench.audit import understanding
from fairbench.display.progress import Progress, blocks, watching
from fairbench.methods.common import spoken
from fairbench.protocols import UnderstandingModel
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading
from fairbench.storage.reading import ImageReader
from fairbench.storage.store import Store
from fairbench.sweeps import pilot
from fairbench.sweeps.arms import BASE, Arm
from fairbench.sweeps.axes import STEREOTYPES, UNDERSTANDING, Reading, Readings, missing, share
from fairbench.sweeps.design import FOLLOWED, JUDGED, Design, once
from fairbench.training.capability import CAPTION_QUESTION
from fairbench.types import ImageRequest, Prompt, RgbImage

FOLDER: Final = "understanding"
MAX_IMAGES: Final = 256
_LIMIT: Final = 48
"""Tokens of a description, at most."""
_GENDERS: Final = understanding.GENDER_WORDS
_PEOPLE: Final = frozenset({"person", "people", "individual", "human", "face", *_GENDERS["male"], *_GENDERS["female"]})
_NEAR: Final = 2
"""Words after a label within which it speaks of a person, as in "a White young man"."""
Labels = Mapping[str, Sequence[str]]
"""Attribute -> its labels."""


def measure(design: Design, arm: Arm | None, seed: int, progress: Progress) -> Readings:
    """Return the readings of a training, or of the model itself, which are kept in the folder.

    Descriptions are of images that the model itself drew under prompts that state a group, the same for all arms.
    """
    path = design.out / FOLDER / f"{BASE if arm is None else arm.name}-seed-{seed}.json"
    stored = once(path, lambda: {name: asdict(r) for name, r in _asked(design, arm, seed, progress).items()})
    return {name: Reading(**values) for name, values in stored.items()}


def _asked(design: Design, arm: Arm | None, seed: int, progress: Progress) -> Readings:
    run = design.run(JUDGED, arm, seed)[0]
    model: Any = run.adapter
    if not isinstance(model, UnderstandingModel):
        reason = f"the adapter {run.card.adapter!r} answers no questions (protocol UnderstandingModel)"
        return dict.fromkeys((UNDERSTANDING, STEREOTYPES), missing(reason))
    try:
        return {
            UNDERSTANDING: _described(design, model, run.ctx.block_size, progress),
            STEREOTYPES: _stereotyped(run, model, design.samples, progress),
        }
    except FloatingPointError as err:
        return dict.fromkeys((UNDERSTANDING, STEREOTYPES), missing(str(err)))
    finally:
        del model, run
        pilot.release()


def _stereotyped(run: RunSpec, model: Any, samples: int, progress: Progress) -> Reading:
    """Return the mean over subjects of |P(male) - P(female)| over all answers about people nobody sees."""
    subjects = list(dict.fromkeys(prompt.subject for prompt in run.prompts))
    block, seed = run.ctx.block_size, run.settings.seed
    counts = understanding.ask(model, subjects, None, samples, seed, block, progress)
    gap = float(understanding.gaps(counts).mean())
    return Reading(gap, share(gap * counts.sum(), int(counts.sum())).error)


def _described(design: Design, model: Any, block_size: int, progress: Progress) -> Reading:
    """Return the mean share of the words of an image's prompt, its groups and its subject, that a description names."""
    if FOLLOWED not in design.tasks:
        return missing("no --following-task was named, whose images would be described")
    run = design.run(FOLLOWED, None, design.seed)[0]
    pictures, labels = _pictures(design, run), run.labeller.declared.labels
    if not pictures:
        return missing("the model drew no image under prompts that state a group")
    total = 0.0
    with progress.stage("descriptions", len(pictures), "answers") as bar, watching(model, bar, block_size):
        for block in blocks(pictures, block_size, bar):
            answers = model.answer([CAPTION_QUESTION] * len(block), [image for _, image in block], limit=_LIMIT)
            total += sum(named(answer, prompt, labels) for answer, (prompt, _) in zip(answers, block, strict=True))
    return Reading(total / len(pictures))  # of the same images for all arms: their choice is no arm's error


def _pictures(design: Design, run: RunSpec) -> Sequence[tuple[Prompt, RgbImage]]:
    """Return up to `MAX_IMAGES` images of the model itself, with their prompts."""
    prompts = {prompt.neutral_id: prompt for prompt in run.prompts}
    store = Store(design.store, look_only=True)
    requests = evenly(run.requests, design.seed)
    rows = [row for row in reading.index(store, run.image_key, requests) if row.status == "ok"]
    shown = ImageReader(store).stream(rows)
    return [(prompts[row.request.neutral_id], image) for row, image in shown if isinstance(image, np.ndarray)]


def evenly(requests: Sequence[ImageRequest], seed: int, most: int = MAX_IMAGES) -> list[ImageRequest]:
    """Return up to `most` requests, in their order: as many of each prompt, and of which one more, is drawn."""
    prompts = list(dict.fromkeys(request.neutral_id for request in requests))
    drawn = np.random.default_rng([seed, 6]).permutation(len(prompts)).tolist()
    rank = dict(zip(prompts, drawn, strict=True))
    first = sorted(range(len(requests)), key=lambda i: (requests[i].sample_index, rank[requests[i].neutral_id]))
    return [requests[i] for i in sorted(first[:most])]


def named(answer: str, prompt: Prompt, labels: Labels) -> float:
    """Return the share of what a prompt says of its person, each group and the subject, that an answer names.

    A group counts where the answer names no other label of its attribute: listing all would name each. Words of
    other attributes than gender count of a person alone: "in a white shirt" says nothing of one.
    """
    words, subject = _words(answer), _words(prompt.subject)
    people = _PEOPLE | set(subject)
    hits = [bool(subject) and set(subject) <= set(words)]
    for attribute, label in prompt.stated.items():
        said = {other for other in {label, *labels.get(attribute, ())} if _says(words, other, people)}
        hits.append(said == {label})
    return sum(hits) / len(hits)


def _says(words: Sequence[str], label: str, people: Set[str]) -> bool:
    if label in _GENDERS:
        return bool(_GENDERS[label] & set(words))
    return any(
        list(words[i : i + len(own)]) == own and _of_person(words, i, i + len(own), people)
        for own in (_words(spoken(label)), _words(label))  # as people write it, and as the labeller does
        for i in range(len(words))
    )


def _of_person(words: Sequence[str], start: int, end: int, people: Set[str]) -> bool:
    """Whether words from start to end stand before a person, or are said of one, as in "the man is White"."""
    said_of = start >= 2 and words[start - 1] in {"is", "looks", "appears"} and words[start - 2] in people
    return said_of or bool(people & set(words[end : end + _NEAR]))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
