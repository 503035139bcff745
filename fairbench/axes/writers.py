"""Models that write text when they are asked for axes; the cache keeps their answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fairbench.axes import respondent
from fairbench.axes.proposal import LIMIT
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling import judges
from fairbench.networks.textmodel import CachedText, CausalAnswers, OwnAnswers, of_card
from fairbench.networks.vlm import VisionLanguageModel
from fairbench.runs import spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.device import pick_device
from fairbench.types import BuildContext

TEXT: Final = "text:"
"""Before the folder or the hub's name of a language model: `text:PATH`, `text:OWNER/NAME@COMMIT`."""
LABELLER: Final = "labeller:"
_BLOCK: Final = 8


def text_model(target: str, device: str, dtype: str | None, progress: Progress) -> tuple[str, CachedText]:
    """Return the name of a model that writes text, and what asks it.

    target: `text:` and a causal language model of transformers; `labeller:` and a labeller of the kind `vqa`, whose
    model is asked in text alone; or a model as `run` takes it, whose card names a text model or which answers questions
    itself. Raises FairbenchError.
    """
    if target.startswith(LABELLER):
        return _of_labeller(target.removeprefix(LABELLER), device, progress)
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


def _of_labeller(name: str, device: str, progress: Progress) -> tuple[str, CachedText]:
    loaded = catalog.load_labeller(name)
    _, params = respondent.asking_part(loaded, name)
    ctx = BuildContext(device=pick_device(device), block_size=_BLOCK, base_dir=loaded.base_dir)
    judge: Any = judges.build(params.judge, ctx)
    judges.refuse_missing(params.judge, judge, ctx)
    asked: Any = _Asked(judge)
    writer = OwnAnswers(loaded.card.name, asked, judges.identity_of(params.judge, ctx.base_dir), LIMIT)
    return loaded.card.name, CachedText(writer, ctx, progress)


class _Asked:
    """A model as it is asked for text: drawn from seeds, where it can be."""

    def __init__(self, judge: Any) -> None:
        self._judge = judge

    def answer(
        self, questions: Sequence[str], images: Sequence[None], seeds: Sequence[int] | None = None, **settings: Any
    ) -> list[str]:
        """Return one answer per question."""
        seeds = None if isinstance(self._judge, VisionLanguageModel) else seeds
        answers: list[str] = self._judge.answer(questions, images, seeds, **settings)
        return answers


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
