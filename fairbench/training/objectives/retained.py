"""Capability data: a share of the examples keeps what the model could do before, whatever is trained besides.

All kinds (`capability.KINDS`) are learned by the negative log-probability of their tokens.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench.display.progress import blocks
from fairbench.errors import CardError
from fairbench.protocols import DiffusionTrainable, Distillable, Trainable, TrainableAnswers, UnderstandingModel
from fairbench.storage import atomic
from fairbench.training import batches, capability, output
from fairbench.training.capability import ANSWER_TOKENS, CAPTION_QUESTION, IMAGES_PER_PROMPT, QUESTIONS, general_prompts
from fairbench.training.job import Job
from fairbench.training.objectives import distill, fitting, sft
from fairbench.training.objectives.base import Figures, Objective, Part, Setup
from fairbench.training.objectives.diffusion_sft import NoisedImages

_Source = batches.Images | batches.Answers | NoisedImages


def _stated(setup: Setup) -> batches.Images | NoisedImages:
    rows = len(setup.job.data.rows)
    return NoisedImages(setup).shifted(rows) if setup.job.trains_diffusion else sft.images(setup).shifted(rows)


def _general(setup: Setup) -> batches.Images:
    job, model, prompts = setup.job, setup.model, general_prompts()
    name = output.digest(job.data, job.base, ["general", prompts, job.settings.seed, *model.drawn_at()])
    prompts = [prompt for prompt in prompts for _ in range(IMAGES_PER_PROMPT)]
    block, path = job.card.card.block_size, setup.cache(f"tokens-{name}.npy")
    with setup.accelerator.main_process_first(), setup.as_base():
        tokens = distill.drawn(model, prompts, job.settings.seed, block, path, setup.progress)
    return batches.Images(model, prompts, tokens, own=True)


def _captions(setup: Setup) -> batches.Answers:
    return _own_answers(setup, [CAPTION_QUESTION] * len(setup.job.data.rows))


def _questions(setup: Setup) -> batches.Answers:
    return _own_answers(setup, [QUESTIONS[i % len(QUESTIONS)] for i in range(len(setup.job.data.rows))])


def _own_answers(setup: Setup, questions: Sequence[str]) -> batches.Answers:
    """Return the frozen model's most probable answers, a question about each of the set's images."""
    job, rows = setup.job, setup.job.data.rows
    path = setup.cache(f"answers-{output.digest(job.data, job.base, ['answers', *dict.fromkeys(questions)])}.json")
    with setup.accelerator.main_process_first(), setup.as_base():
        if not path.exists():
            answers: list[str] = []
            with setup.progress.stage("own answers", len(rows)) as stage:
                for block in blocks(range(len(rows)), job.card.card.block_size, stage):
                    images = [batches.read(rows[i].image) for i in block]
                    answers += setup.model.answer([questions[i] for i in block], images, limit=ANSWER_TOKENS)
            atomic.write_text(path, json.dumps(answers))
        answers = json.loads(path.read_text(encoding="utf-8"))
    of_rows = zip(rows, questions, answers, strict=True)
    exchanges = [batches.Exchange(row.image, q, a) for row, q, a in of_rows]
    return batches.Answers(setup.model, exchanges, cut_at=ANSWER_TOKENS)


_KINDS: Final[Mapping[str, tuple[Callable[[Setup], _Source], tuple[tuple[type, ...], ...]]]] = {
    "stated": (_stated, ((Trainable, DiffusionTrainable),)),
    "captions": (_captions, ((TrainableAnswers,), (UnderstandingModel,))),
    "questions": (_questions, ((TrainableAnswers,), (UnderstandingModel,))),
    "general": (_general, ((Distillable,),)),
}
"""Kind -> how it is made, and the protocols that the adapter must offer, one of each tuple."""


def check(job: Job, adapter: type) -> None:
    """Raise CardError where the model or the set lacks what the kinds need."""
    kinds = job.settings.retain[1] if job.settings.retain else ()
    for kind in kinds:
        if lacking := next((need for need in _KINDS[kind][1] if not issubclass(adapter, need)), None):
            raise CardError(
                f"The model {job.card.card.name} offers no {lacking[0].__name__}, which --retain with {kind} needs: "
                f"name another kind ({', '.join(_KINDS)})."
            )
    if "stated" in kinds:
        fitting.need_source_prompts(job.data, "--retain shows images under the prompts that they were made from")


def _losses(source: _Source, module: Any, rows: NDArray[np.int64], part: Part) -> torch.Tensor:
    """Return the loss of every row, (rows,)."""
    if isinstance(source, NoisedImages):
        return source.errors(module, rows, part)
    return -source.mean_log_probs(module, rows)


class Several(torch.nn.Module):
    """Modules around one network, called by number, as one module for wrappers: `forward(number, *inputs)`."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.first = modules[0]
        self._parts = tuple(modules)  # not registered: their parameters are those of the first

    def forward(self, number: int, *inputs: Any) -> Any:
        """Return what the module with this number gives."""
        return self._parts[number](*inputs)


class Retaining(Objective):
    """An objective, and capability data in its place for a share of the examples, drawn one by one."""

    def __init__(self, setup: Setup, objective: Objective) -> None:  # the objective's own protocol is checked by it
        settings = setup.job.settings
        assert settings.retain is not None
        self._share, kinds = settings.retain
        self._seed, self._batch, self._objective = settings.seed, settings.batch, objective
        self._sources = [_KINDS[kind][0](setup) for kind in kinds]
        self._in_step = setup.accelerator.num_processes > 1
        self.module = Several([objective.module, *(source.module for source in self._sources)])
        self.figures = (*objective.figures, "retained")

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Return the mean over all examples, each of the objective's or of its capability data's loss."""
        kinds, column, picked = self._kinds(part)
        totals, figures, retained = [], dict[str, torch.Tensor](), []
        own = np.flatnonzero(kinds < 0)
        if members := self._computed(own):
            mean, own_figures = self._objective.loss(functools.partial(module, 0), part.only(members))
            totals.append(mean * len(own))
            figures |= own_figures if len(own) else {}
        for kind, source in enumerate(self._sources):
            of_kind = np.flatnonzero(kinds == kind)
            if members := self._computed(of_kind):
                rows = part.rows[members, column[members]]
                if isinstance(source, batches.Images) and source.own:
                    rows = picked[members] % source.images
                values = _losses(source, functools.partial(module, kind + 1), rows, part.only(members))
                totals.append(values.mean() * len(of_kind))
                retained.append(values[: len(of_kind)])
        if retained:
            figures["retained"] = torch.cat(retained)
        return torch.stack(totals).sum() / len(part.rows), figures

    def _computed(self, members: NDArray[np.int64]) -> list[int]:
        """Return the examples to compute. Several processes call the same modules, or would wait for each other: where
        a part has no example of a kind, one is computed and counts for nothing.
        """
        return members.tolist() or [0] * self._in_step

    def _kinds(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return each example's kind, -1 for the objective's own, which image of it is taken, and a random number.

        (examples,) each.
        """
        retained, rng = capability.drawn(self._share, self._seed, part.step, self._batch)
        kinds = np.where(retained, rng.integers(len(self._sources), size=self._batch), -1)
        columns = rng.integers(part.rows.shape[1], size=self._batch)
        numbers = rng.integers(2**31, size=self._batch)
        return kinds[part.positions], columns[part.positions], numbers[part.positions]
