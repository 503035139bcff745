"""The pictures of a finished run, and what their prompts ask for, in English."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairbench.axes.captions import AskedFor
from fairbench.cards import catalog
from fairbench.cards.cards import TaskCard
from fairbench.errors import CardError, FairbenchError
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.prompts import expand
from fairbench.runs.record import RunRecord
from fairbench.types import NO_TEXT, Prompt


@dataclass(frozen=True, slots=True)
class RunImages:
    """prompt_of: id of each image with pixels -> the index of its prompt. without: images that have none."""

    prompts: Sequence[Prompt]
    prompt_of: Mapping[bytes, int]
    without: int


def of_run(run: FinishedRun) -> RunImages:
    """Return a run's pictures, prompt by prompt in the order of their samples."""
    index_of = {prompt.neutral_id: i for i, prompt in enumerate(run.prompts)}
    requests = [row.request for row in run.rows if row.status == "ok"]
    ordered = sorted(requests, key=lambda r: (index_of[r.neutral_id], r.sample_index, r.image_id))
    return RunImages(run.prompts, {r.image_id: index_of[r.neutral_id] for r in ordered}, len(run.rows) - len(ordered))


def first_of_each(images: RunImages, most: int | None) -> list[bytes]:
    """Return the first pictures of every prompt, at most so many; None: all."""
    taken: Counter[int] = Counter()
    chosen = []
    for image, prompt in images.prompt_of.items():
        taken[prompt] += 1
        if most is None or taken[prompt] <= most:
            chosen.append(image)
    return chosen


def asked_for(run: FinishedRun) -> list[AskedFor]:
    """Return what each prompt asks for, in English: its text, or where it is in another language what the task says.

    Raises FairbenchError where prompts are no texts, or nothing says them in English.
    """
    named = next((p for p in run.prompts if p.template_id == NO_TEXT), None)
    if named is not None:
        raise FairbenchError(
            f"{run.folder}: {named.text!r} is the name of a group of images, no prompt: do the run with the --task "
            "that the images were made for."
        )
    card = _task(run.record)
    if card is None or card.language.lower().split("-")[0] == "en":
        return [AskedFor(p.text, p.subject) for p in run.prompts]
    english = {p.prompt_id: AskedFor(p.scored_as, p.concept) for p in expand(card) if p.scored_as}
    absent = next((p for p in run.prompts if p.prompt_id not in english), None)
    if absent is not None:
        raise FairbenchError(
            f"{run.folder}: the prompts are in the language {card.language}, and captions are read in English: task "
            f"{card.name} needs `scored_as`, which says {absent.text!r} in English."
        )
    return [english[p.prompt_id] for p in run.prompts]


def _task(record: RunRecord) -> TaskCard | None:
    """Return the run's task, None where it is not here (any more) as it was."""
    named = None if record.settings is None else record.settings.task
    try:
        card = catalog.load_task(named or record.task.name).card
    except CardError:
        return None
    return card if (card.name, card.version) == (record.task.name, record.task.version) else None
