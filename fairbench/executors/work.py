"""What is left of a run, handed out as tasks: blocks of images to make, parcels of images to label and to score.

The blocks are those of an ordinary run, so that a run in reduced precision, where an image can depend on its block,
has the same images. What a worker made is there to be labelled at once. A task whose worker died is handed out again;
after that happened twice its images are handed out alone, and an image that was alone each of three times is given up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairbench.errors import FairbenchError
from fairbench.executors.worker import Answer
from fairbench.labelling.table_labeller import TableLabeller
from fairbench.notices import notice
from fairbench.runs import images, labels, scores
from fairbench.runs.labels import LabelStage, Unlabelled
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store

IMAGES: Final = "images"
DEATHS_OF_BLOCK: Final = 2
"""How often the worker of a task dies before its images are tried alone."""
DEATHS_OF_IMAGE: Final = 3
"""How often the worker of a single image dies before the image is given up."""
MIN_PARCEL: Final = 32
"""Images of the last parcels, at least."""
MAX_WAITING: Final = 16 * labels.PARCEL
"""Images that wait for a stage at most: then nothing is drawn until some are done."""


@dataclass(slots=True)
class Task:
    """Requests or rows for one stage. deaths: how many workers died while they had it. first: as of `images.make`."""

    stage: str
    items: Sequence[Any]
    first: bool = False
    deaths: int = 0


class Work:
    """The tasks of a run."""

    def __init__(self, spec: RunSpec, store: Store) -> None:
        """Look up what the store has already."""
        self.spec, self.store = spec, store
        self.failed: dict[bytes, str] = {}
        self._stage = LabelStage(store, spec.labeller, spec.faces_key, spec.labels_key)
        self._again: deque[Task] = deque()
        self._works = set[str]()
        """Stages of which something is in the store or was done, so that they do not kill every worker."""
        rows = [] if spec.without_images else reading.index(store, spec.image_key, spec.work)
        self._blocks = self._blocks_left({row.request.image_id for row in rows})
        self.waiting: dict[str, deque[ImageRow]] = {}
        """Stage -> images that wait for it."""
        self._unlabelled: Unlabelled = {}
        if not isinstance(spec.labeller, TableLabeller):
            todo, self._unlabelled = self._stage.pending(rows)
            self.waiting[labels.STAGE] = deque(todo)
            self._works |= {labels.STAGE} if self._unlabelled else set()
        self._scorers = {s.name: s for s in spec.scorers if s.key is not None}
        for name, scorer in self._scorers.items():
            have = store.ids("scores", str(scorer.key))
            self._works |= {name} if have else set()
            scorable = scores.scorable(scorer, spec.prompts, rows)
            self.waiting[name] = deque(r for r in scorable if r.request.image_id not in have)

    def _blocks_left(self, have: Collection[bytes]) -> deque[Task]:
        size, work = self.spec.ctx.block_size, self.spec.work
        blocks = ([r for r in work[i : i + size] if r.image_id not in have] for i in range(0, len(work), size))
        self._works |= {IMAGES} if have else set()
        tasks = deque(Task(IMAGES, block) for block in blocks if block and not self.spec.without_images)
        if tasks and not have:
            tasks[0].first = True
        return tasks

    @property
    def left(self) -> int:
        """How many images wait for a stage, each stage counted."""
        return sum(self.totals.values())

    @property
    def totals(self) -> dict[str, int]:
        """Stage -> how many images it still has to do, those that are not made yet included."""
        again = {stage: sum(len(t.items) for t in self._again if t.stage == stage) for stage in (IMAGES, *self.waiting)}
        to_make = sum(len(t.items) for t in self._blocks) + again[IMAGES]
        return {IMAGES: to_make} | {s: len(rows) + to_make + again[s] for s, rows in self.waiting.items()}

    def take(self, stages: Collection[str], workers: int) -> Task | None:
        """Return a task of one of these stages, None where there is none now.

        Images are labelled and scored in whole parcels while others are still made, so that shards are few.
        """
        again = next((task for task in self._again if task.stage in stages), None)
        if again is not None:
            self._again.remove(again)
            return again
        for stage, rows in self.waiting.items():
            size = labels.PARCEL if self._blocks else self._last_parcel(len(rows), workers)
            if stage in stages and rows and len(rows) >= size:
                return Task(stage, [rows.popleft() for _ in range(size)], first=stage not in self._works)
        crowded = any(len(rows) >= MAX_WAITING for stage, rows in self.waiting.items() if stage not in stages)
        return self._blocks.popleft() if IMAGES in stages and self._blocks and not crowded else None

    @staticmethod
    def _last_parcel(waiting: int, workers: int) -> int:
        """Return the size of a parcel when no block is left: an even share, but not so small that shards are many."""
        return min(waiting, labels.PARCEL, max(MIN_PARCEL, math.ceil(waiting / workers)))

    def unlabelled(self, task: Task) -> Unlabelled:
        """Return what `LabelStage.label` has to know of a task's rows."""
        ids = [row.request.image_id for row in task.items]
        return {image_id: self._unlabelled[image_id] for image_id in ids if image_id in self._unlabelled}

    def done(self, task: Task, answer: Answer) -> None:
        """Take in what came of a task."""
        self.failed |= answer.failed
        self._works.add(task.stage)
        if answer.left_out is not None:  # the run itself says why
            self.waiting.pop(task.stage, None)
        for stage, rows in self.waiting.items():
            scorer = self._scorers.get(stage)
            rows += answer.rows if scorer is None else scores.scorable(scorer, self.spec.prompts, answer.rows)

    def died(self, task: Task, reason: str) -> bool:
        """Hand a task out again whose worker died; return whether it was given up instead.

        Raises FairbenchError where nothing of its stage was ever done: then it is no image that is at fault.
        """
        task.deaths += 1
        alone = len(task.items) == 1
        if alone and task.deaths >= DEATHS_OF_IMAGE:
            if task.stage not in self._works:
                raise FairbenchError(f"Every worker dies in {task.stage}: {reason}. Nothing was stored.")
            self._give_up(task, f"the worker died each of {task.deaths} times that it had this image alone: {reason}")
            return True
        if not alone and task.deaths >= DEATHS_OF_BLOCK:
            text = f"a worker died {task.deaths} times in {task.stage} ({reason}): its images are tried one at a time"
            notice("block-failed", text)
            self._again += [Task(task.stage, [item]) for item in task.items]
        else:
            self._again.append(task)
        return False

    def _give_up(self, task: Task, reason: str) -> None:
        item, spec = task.items[0], self.spec
        if task.stage == IMAGES:
            images.write_failed(self.store, spec.image_key, item, reason, method=spec.method)
        elif task.stage == labels.STAGE:
            self._stage.give_up(item, self._unlabelled, reason)
            self.failed |= self._stage.failed
        else:
            scores.write_failed(self.store, str(self._scorers[task.stage].key), task.stage, item, reason)
