"""Has a model that writes text propose axes for a task, and freezes what people made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from fairbench.axes import file, proposal, writers
from fairbench.axes.file import AxesFile, ProposedBy
from fairbench.cards import catalog
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.runs.prompts import expand
from fairbench.storage import folders

T = TypeVar("T")


def propose(
    task: str,
    writer: str,
    out: Path,
    limit_prompts: int,
    per_prompt: int,
    most: int,
    seed: int,
    *,
    device: str,
    dtype: str | None,
    progress: Progress,
) -> AxesFile:
    """Ask a model for axes and write their file; return what it says. The options are those of the command.

    Raises FairbenchError where the file is there and frozen, or is another file; and where no answer held an axis.
    """
    folders.check_file(out, "an unfrozen file of axes", _is_unfrozen)
    card = catalog.load_task(task).card
    prompts = _spread(expand(card), limit_prompts)
    name, model = writers.text_model(writer, device, dtype, progress)
    axes, left_out, unusable = proposal.propose(prompts, model.complete, seed, per_prompt=per_prompt, most=most)
    if not axes:
        first = f": {left_out[0].proposal!r:.100}, {left_out[0].why}" if left_out else ""
        raise FairbenchError(
            f"--with {writer}: none of {len(prompts)} answers held an axis in the form that was asked for{first}; name "
            "a larger language model, or write the file by hand (docs/axes.md)."
        )
    asked = proposal.asked(per_prompt)
    by = ProposedBy(
        model=name, identity=model.identity(), seed=seed, asked=asked, prompts=len(prompts), unusable=unusable
    )
    proposed = AxesFile(task=card.name, task_version=card.version, axes=axes, left_out=left_out, proposed_by=by)
    file.write(out, proposed)
    return proposed


def freeze(path: Path, reviewer: str, task: str | None) -> AxesFile:
    """Freeze a reviewed file of axes; see `file.freeze`. task: where its task is; None: under its name.

    Raises CardError as well where the task is not the one that the file names.
    """
    named = file.read(path)
    card = catalog.load_task(task or named.task).card
    if (card.name, card.version) != (named.task, named.task_version):
        raise FairbenchError(
            f"{path}, field task: it is of {named.task}, version {named.task_version}, and here is {card.name}, "
            f"version {card.version}; name the right --task, or propose axes for this one."
        )
    return file.freeze(path, reviewer, frozenset(prompt.subject for prompt in expand(card)))


def _is_unfrozen(path: Path) -> bool:
    try:
        return file.read(path).frozen is None
    except FairbenchError:
        return False


def _spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many items, at equal distances."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[i] for i in chosen]
