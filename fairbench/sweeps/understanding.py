"""What a training did to the understanding side: does it still name what it sees, and does it answer by stereotype?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
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
from fairbench.types import Prompt, RgbImage

FOLDER: Final = "understanding"
MAX_IMAGES: Final = 256
_LIMIT: Final = 48
"""Tokens of a description, at most."""
_SYNONYMS: Final = understanding.GENDER_WORDS


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
    pictures = _pictures(design)
    if not pictures:
        return missing("the model drew no image under prompts that state a group")
    total = 0.0
    with progress.stage("descriptions", len(pictures), "answers") as bar, watching(model, bar, block_size):
        for block in blocks(pictures, block_size, bar):
            answers = model.answer([CAPTION_QUESTION] * len(block), [image for _, image in block], limit=_LIMIT)
            total += sum(named(answer, prompt) for answer, (prompt, _) in zip(answers, block, strict=True))
    return Reading(total / len(pictures))  # of the same images for all arms: their choice is no arm's error


def _pictures(design: Design) -> Sequence[tuple[Prompt, RgbImage]]:
    """Return up to `MAX_IMAGES` images of the model itself with their prompts, as many of each as there can be."""
    run = design.run(FOLLOWED, None, design.seed)[0]
    each = max(1, MAX_IMAGES // len(run.prompts))
    requests = [r for r in run.requests if r.sample_index < each][:MAX_IMAGES]
    prompts = {prompt.neutral_id: prompt for prompt in run.prompts}
    store = Store(Path(design.store), look_only=True)
    rows = [row for row in reading.index(store, run.image_key, requests) if row.status == "ok"]
    shown = ImageReader(store).stream(rows)
    return [(prompts[row.request.neutral_id], image) for row, image in shown if isinstance(image, np.ndarray)]


def named(answer: str, prompt: Prompt) -> float:
    """Return the share of what a prompt says of its person, each group and the subject, that an answer names."""
    words = set(re.findall(r"[^\W_]+", answer.lower()))
    hits = [bool(_SYNONYMS.get(label, set(spoken(label).lower().split())) & words) for label in prompt.stated.values()]
    subject = re.findall(r"[^\W_]+", prompt.subject.lower())
    hits.append(bool(subject) and set(subject) <= words)
    return sum(hits) / len(hits)
