"""A worker: a process that makes, labels and scores what it is handed, with the stages of an ordinary run."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fairbench.errors import FairbenchError, PluginError
from fairbench.executors import job as jobs
from fairbench.labelling.table_labeller import TableLabeller
from fairbench.notices import Notice, collecting
from fairbench.runs import images, scores
from fairbench.runs.labels import LabelStage, Unlabelled
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store

if TYPE_CHECKING:
    from fairbench.types import ImageRequest


@dataclass
class Answer:
    """What came of a task. rows: the images that it made. failed: as of `LabelStage`. error: what the user can fix.

    left_out: why a scorer cannot be used. too_large: whether the block did not fit into memory (`BlockTooLarge`).
    damaged: what to say of a damaged shard, if the run does not make its images again (`DamagedInUse`).
    """

    rows: list[ImageRow] = field(default_factory=list)
    failed: dict[bytes, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None
    left_out: str | None = None
    too_large: bool = False
    damaged: str | None = None


class Moved:
    """How many units of the task in flight are done: the stage that a worker's own work reports to."""

    def __init__(self) -> None:
        self._done, self._within = 0, 0.0

    def advance(self, count: int = 1) -> None:
        """Count units as done."""
        self._done, self._within = self._done + count, 0.0

    def within(self, units: float) -> None:
        """Note how much of the work in flight is done."""
        self._within = units

    @property
    def reached(self) -> float:
        """Units done, parts of units included."""
        return self._done + self._within


class Worker:
    """Opens a job once and then does its tasks, one at a time. Loads what a task needs when it first needs it."""

    spec: RunSpec
    store: Store

    def __init__(self) -> None:
        self._moved = Moved()

    def open(self, job: jobs.Job, device: str) -> tuple[str, Answer]:
        """Take in a job, for a device; return the name of this machine."""
        return os.uname().nodename, self._answer(lambda answer: self._open(job, device))

    def draw(self, requests: Sequence[ImageRequest], first: bool) -> Answer:
        """Make the images of a block. first: whether it is the run's own first."""
        return self._answer(lambda answer: answer.rows.extend(self._draw(requests, first)))

    def label(self, rows: Sequence[ImageRow], unlabelled: Unlabelled) -> Answer:
        """Find and label the faces of some images."""
        return self._answer(lambda answer: self._label(rows, unlabelled, answer))

    def score(self, name: str, rows: Sequence[ImageRow], first: bool) -> Answer:
        """Score some images. first: whether nothing was scored before."""
        return self._answer(lambda answer: self._score(name, rows, first, answer))

    def report(self) -> Answer:
        """Return the notices that a labeller gives at the end."""
        return self._answer(lambda answer: self._labels.labeller.report() if self._labelled else None)

    def reached(self) -> float:
        """Return how many units of the task in flight are done; called while the task runs."""
        return self._moved.reached

    def _answer(self, work: Callable[[Answer], object]) -> Answer:
        """Do a task. What the user can fix is a value: an exception would reach the caller as another type."""
        answer, start = Answer(), time.perf_counter()
        self._moved = Moved()
        with collecting() as notices:
            try:
                work(answer)
            except images.BlockTooLarge:
                answer.too_large = True
            except reading.DamagedInUse as err:
                answer.damaged = str(err)
            except FairbenchError as err:
                answer.error = str(err)
        answer.notices, answer.seconds = list(notices), time.perf_counter() - start
        return answer

    def _open(self, job: jobs.Job, device: str) -> None:
        spec, self.store = jobs.unpack(job)
        if device != spec.ctx.device and not isinstance(spec.labeller, TableLabeller):
            ctx = dataclasses.replace(spec.ctx, device=device)
            spec = dataclasses.replace(spec, ctx=ctx, labeller=spec.labeller.on(device))
        self.spec = spec
        self._labels = LabelStage(self.store, spec.labeller, spec.faces_key, spec.labels_key)
        self._labelled = False
        self._scorers = scores.Scorers(spec.scorers, spec.ctx)

    def _draw(self, requests: Sequence[ImageRequest], first: bool) -> list[ImageRow]:
        spec = self.spec
        return images.make(
            self.store,
            spec.image_key,
            requests,
            spec.adapter,
            self._moved,
            method=spec.method,
            adapter=spec.card.adapter,
            fixed_block=spec.fixed_block,
            first=first,
        )

    def _label(self, rows: Sequence[ImageRow], unlabelled: Unlabelled, answer: Answer) -> None:
        self._labelled = True
        self._labels.label(rows, unlabelled, self._moved)
        answer.failed, self._labels.failed = self._labels.failed, {}

    def _score(self, name: str, rows: Sequence[ImageRow], first: bool, answer: Answer) -> None:
        scorer = next(s for s in self.spec.scorers if s.name == name)
        built, answer.left_out = self._scorers.get(scorer)
        if built is None or scorer.key is None:
            return
        texts = scores.scored_texts(self.spec.prompts)
        try:
            scores.score_rows(self.store, scorer.key, name, built, rows, texts, self._moved, first=first)
        except PluginError as err:
            _, answer.left_out = self._scorers.leave_out(scorer, str(err))
