"""The workers of a run: started, given tasks, watched, started again where they die, and stopped by Ctrl-C."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fairbench import threads
from fairbench.display.progress import Progress, Stage
from fairbench.errors import FairbenchError
from fairbench.executors import job
from fairbench.executors.draining import Draining
from fairbench.executors.work import IMAGES, Task, Work
from fairbench.executors.worker import Answer, Worker
from fairbench.notices import notice
from fairbench.runs import images, labels
from fairbench.runs.distributed import Distributed, WorkerReport
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading
from fairbench.storage.store import Store

if TYPE_CHECKING:
    from fairbench.executors.cluster import Role

log = logging.getLogger(__name__)
POLL: Final = 1.0
"""Seconds between two looks at how far the workers are."""
MAX_FAILED_STARTS: Final = 3
"""How often in a row a worker may die before it has done anything."""
MAX_DEATHS_IN_A_ROW: Final = 12
"""How often workers may die, one after another, before any task is done: an image that kills costs five."""
START_SECONDS: Final = 600.0
"""How long nothing may happen because workers are not ready."""
_BESIDE: Final = "beside"
"""The group of methods that run beside the task in flight."""


@dataclass
class _Member:
    """One worker. actor: its process. reference: of the task in flight; task: None while it opens the job."""

    role: Role
    report: WorkerReport = field(default_factory=WorkerReport)
    actor: Any = None
    reference: Any = None
    task: Task | None = None
    ready: bool = False
    failed_starts: int = 0
    reached: Any = None
    """Reference of how far the task in flight is."""


class Pool:
    """Does the work of a run on workers."""

    def __init__(self, spec: RunSpec, store: Store, work: Work, roles: list[Role]) -> None:
        self._spec, self._store, self._work = spec, store, work
        self._members = [_Member(role) for role in roles]
        self._result = Distributed(workers=[m.report for m in self._members])
        self._bars: dict[str, Stage] = {}
        self._deaths: list[str] = []
        self._deaths_in_a_row = 0

    def run(self, progress: Progress) -> Distributed:
        """Do all that the workers can do, and return what came of it. Raises FairbenchError, BlockTooLarge."""
        import ray

        self._job = ray.put(job.pack(self._spec, self._store))
        price = images.price_of(self._spec.adapter)
        with ExitStack() as stack:
            stack.callback(self._stop)
            draining = stack.enter_context(Draining())
            for stage, total in self._work.totals.items():
                of_stage = progress.stage(stage, total, price=price if stage == IMAGES else None)
                self._bars[stage] = stack.enter_context(of_stage)
            for member in self._members:
                self._start(member)
            self._loop(draining)
            self._collect_reports()
        if self._deaths:
            text = f"Workers died and were started again {len(self._deaths)} times"
            notice("worker-restarted", text, count=len(self._deaths), examples=dict.fromkeys(self._deaths))
        self._result.failed = self._work.failed
        return self._result

    def _loop(self, draining: Draining) -> None:
        import ray

        since = time.monotonic()
        while True:
            draining.tell()
            for member in self._members:
                if member.ready and member.task is None and not draining.wanted:
                    self._hand_out(member)
            in_flight = [m for m in self._members if m.task is not None]
            opening = [m for m in self._members if not m.ready and m.reference is not None]
            if not in_flight and (draining.wanted or not opening or not self._work.left):
                break
            references = {m.reference: m for m in (*in_flight, *opening)}
            done, _ = ray.wait(list(references), num_returns=1, timeout=POLL)
            for reference in done:
                self._finish(references[reference])
            if in_flight:
                since = time.monotonic()
            elif time.monotonic() - since > START_SECONDS:
                raise FairbenchError(f"No worker was free for {START_SECONDS:.0f} s: look at the cluster's nodes.")
            self._watch(in_flight)
        draining.stop_if_wanted()

    def _start(self, member: _Member) -> None:
        import ray

        role = member.role
        actor_class = ray.remote(
            num_cpus=role.cpus,
            num_gpus=role.gpus,
            max_restarts=0,
            concurrency_groups={_BESIDE: 1},
            runtime_env={"env_vars": threads.environment(role.cpus)},
        )(Worker)
        member.actor, member.ready, member.task = actor_class.remote(), False, None
        member.reference = member.actor.open.remote(self._job, role.device)

    def _hand_out(self, member: _Member) -> None:
        task = self._work.take(member.role.stages, sum(m.ready for m in self._members))
        if task is None:
            return
        member.task, actor = task, member.actor
        if task.stage == IMAGES:
            member.reference = actor.draw.remote(task.items, task.first)
        elif task.stage == labels.STAGE:
            member.reference = actor.label.remote(task.items, self._work.unlabelled(task))
        else:
            member.reference = actor.score.remote(task.stage, task.items, task.first)

    def _finish(self, member: _Member) -> None:
        import ray

        try:
            got = ray.get(member.reference)
        except ray.exceptions.RayTaskError as err:
            raise err.cause from err
        except ray.exceptions.RayError as err:
            self._died(member, err)
            return
        task, member.reference, member.task, member.reached = member.task, None, None, None
        if task is None:
            member.report.host, answer = got
            member.ready, member.failed_starts = True, 0
        else:
            answer, self._deaths_in_a_row = got, 0
        self._take_in(member, task, answer)

    def _take_in(self, member: _Member, task: Task | None, answer: Answer) -> None:
        for each in answer.notices:
            if each.code != "scorer-left-out":  # the run says so itself
                notice(each.code, each.text, count=each.count, examples=each.examples)
        if answer.too_large:
            raise images.BlockTooLarge
        if answer.damaged is not None:
            raise reading.DamagedInUse(answer.damaged)
        if answer.error is not None:
            raise FairbenchError(answer.error)
        if task is None:
            return
        report, count = member.report, len(task.items)
        if task.stage == IMAGES:
            self._refuse_lost(member, answer)
            report.images, self._result.images = report.images + count, self._result.images + count
        elif task.stage == labels.STAGE:
            report.labels, self._result.labels = report.labels + count, self._result.labels + count
        else:
            report.scores += count
        report.seconds[task.stage] = round(report.seconds.get(task.stage, 0.0) + answer.seconds, 3)
        self._work.done(task, answer)
        self._bars[task.stage].advance(count)

    def _refuse_lost(self, member: _Member, answer: Answer) -> None:
        """Refuse a worker whose first shard is not seen here: its store is another folder of the same name."""
        if not member.report.images and self._store.read(IMAGES, answer.rows[0].shard, ["image_id"]) is None:
            root = self._store.files.shown(self._store.root)
            raise FairbenchError(f"What {member.report.host} stored is not in {root}: name a --store that all share.")

    def _died(self, member: _Member, err: Exception) -> None:
        """Start a worker again that died, and hand its task to the next one that is free."""
        import ray

        reason = _reason(err)
        ray.kill(member.actor)  # one that is only out of reach must not go on
        task = member.task
        log.debug("a worker died: %s", err)
        if "No module named 'fairbench" in str(err) or "has no attribute 'Worker'" in str(err):
            raise FairbenchError("A node has no fairbench, or another version: install the same one on every node.")
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW:
            raise FairbenchError(f"Workers died {self._deaths_in_a_row} times and did nothing in between: {reason}.")
        if not member.ready or task is None:
            member.failed_starts += 1
            if member.failed_starts >= MAX_FAILED_STARTS:
                raise FairbenchError(f"A worker died {member.failed_starts} times before it did anything: {reason}.")
        elif self._work.died(task, reason):
            self._bars[task.stage].advance(1)
        self._deaths.append(reason)
        member.report.deaths += 1
        self._start(member)

    def _watch(self, in_flight: list[_Member]) -> None:
        """Move the bars by what the tasks in flight have done."""
        import ray

        within = dict.fromkeys(self._bars, 0.0)
        for member in in_flight:
            if member.task is None:
                continue
            if member.reached is not None and ray.wait([member.reached], timeout=0)[0]:
                with suppress(ray.exceptions.RayError):  # it died, which its task tells
                    within[member.task.stage] += ray.get(member.reached)
                member.reached = None
            if member.reached is None:
                member.reached = member.actor.reached.options(concurrency_group=_BESIDE).remote()
        for stage, units in within.items():
            if units:
                self._bars[stage].within(units)

    def _collect_reports(self) -> None:
        import ray

        ready = [m for m in self._members if m.ready and m.task is None]
        for member in ready:
            try:
                self._take_in(member, None, ray.get(member.actor.report.remote()))
            except ray.exceptions.RayError as err:
                self._deaths.append(_reason(err))

    def _stop(self) -> None:
        import ray

        for member in self._members:
            if member.actor is not None:
                ray.kill(member.actor)


def _reason(err: Exception) -> str:
    """Return why a worker died, in a few words: Ray's own text is a page."""
    text = str(err).lower()
    if "out of memory" in text or "running low on memory" in text:
        return "its node ran out of memory"
    if "its node has died" in text:
        return "its node was lost"
    return "its process was killed"
