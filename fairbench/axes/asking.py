"""Has a model that writes text propose axes for a task, and freezes what people made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from fairbench.axes import file, proposal
from fairbench.axes.file import AxesFile, ProposedBy
from fairbench.axes.proposal import LIMIT
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.networks.textmodel import CachedText, CausalAnswers, of_card
from fairbench.runs import spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.device import pick_device
from fairbench.runs.prompts import expand
from fairbench.storage import folders
from fairbench.types import BuildContext

TEXT: Final = "text:"
"""Before the folder or the hub's name of a language model: `text:PATH`, `text:OWNER/NAME@COMMIT`."""
_BLOCK: Final = 8


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
    name, model = text_model(writer, device, dtype, progress)
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


T = TypeVar("T")


def _spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many items, at equal distances."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[i] for i in chosen]


def text_model(target: str, device: str, dtype: str | None, progress: Progress) -> tuple[str, CachedText]:
    """Return the name of a model that writes text, and what asks it.

    target: `text:` and a causal language model of transformers, or a model as `run` takes it, whose card names a text
    model or which answers questions itself. Raises FairbenchError.
    """
    if target.startswith(TEXT):
        ctx = BuildContext(device=pick_device(device), dtype=dtype or "float32", block_size=_BLOCK)
        ref = _hub_model(target.removeprefix(TEXT))
        return str(ref.repo or Path(str(ref.path)).name), CachedText(CausalAnswers(ref, ctx, LIMIT), ctx, progress)
    made = spec.make(RunSettings(model=target, limit_prompts=1, images_per_prompt=1, device=device, dtype=dtype))
    asked = of_card(made.card, made.adapter, made.ctx, made.image_key, progress, LIMIT)
    if asked is None:
        raise FairbenchError(
            f"--with {target}: the adapter {made.card.adapter!r} answers no questions and its card names no "
            f"text_model; name a language model, as in {TEXT}PATH."
        )
    return made.card.name, asked


def _hub_model(target: str) -> HubModel:
    folder = Path(target).expanduser()
    repo, _, revision = target.partition("@")
    if folder.is_dir():
        return HubModel(path=str(folder.resolve()))
    if re.fullmatch(r"[\w.-]+/[\w.-]+", repo) and re.fullmatch(r"[0-9a-f]{40}", revision):
        return HubModel(repo=repo, revision=revision)
    raise FairbenchError(
        f"--with {TEXT}{target}: there is no such folder, and a model of the hub is named with the commit of its "
        f"weights, as in {TEXT}OWNER/NAME@{'0' * 7}... (40 hex digits)."
    )
