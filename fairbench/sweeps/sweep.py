"""A sweep from end to end: plan, train, choose, judge. Killed anywhere, the same command goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fairbench.comparison.margins import Margins
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError, ImageError
from fairbench.leaderboard import row
from fairbench.leaderboard.evidence import open_run
from fairbench.protocols import TokenModel
from fairbench.runs import evidence
from fairbench.runs.evidence import FinishedRun
from fairbench.storage import reading
from fairbench.storage.reading import ImageReader
from fairbench.storage.store import Store
from fairbench.sweeps import axes, choice, files, independence, measuring, plan, settling, trainings, understanding
from fairbench.sweeps.arms import BASE, Arm
from fairbench.sweeps.axes import BIAS, Axis, Readings
from fairbench.sweeps.design import CHOSEN, JUDGED, Design, begin, once
from fairbench.sweeps.result import Result, result


def sweep(design: Design, progress: Progress) -> Result:
    """Do a sweep, or what is left of it, and write its files. Raises FairbenchError for what the user can fix."""
    design.job(design.arms[0], design.seed, 1, design.out).model()  # a model that cannot be trained is told at once
    attribute = _attribute(design)
    shared = independence.checked(design)
    identity = begin(design)
    of_task = design.margins
    readings: dict[tuple[str, int], Readings] = {}
    own = {seed: evidence.read(measuring.run(design, CHOSEN, None, seed, progress)) for seed in design.of_seeds}
    planned = plan.made(design, _image_tokens(design), progress)
    spent: dict[str, list[dict[str, object]]] = {arm.name: [] for arm in design.arms}
    for seed in design.of_seeds:  # all arms of a seed first: a sweep that is stopped has whole seeds
        readings[BASE, seed] = axes.of_run(CHOSEN, own[seed], attribute, of_task)
        for arm in design.arms:
            steps = plan.steps_of(planned, arm)
            spent[arm.name].append(trainings.train(design, arm, seed, steps, progress))
            run = evidence.read(measuring.run(design, CHOSEN, arm, seed, progress))
            readings[arm.name, seed] = axes.of_run(CHOSEN, run, attribute, of_task)
    of_choice = [axis for axis in axes.axes(own[design.seed], attribute, of_task) if axis.part == JUDGED]
    of_choice = [axis for axis in of_choice if axis.name in {BIAS, *readings[BASE, design.seed]}]
    path, seeds = design.out / choice.FILE, [*design.of_seeds]
    alike, read_of = settling.settled(readings)
    chosen = once(path, lambda: {**choice.made(design.arms, of_choice, alike, seeds), "read_of": read_of})
    found = _judge(design, attribute, of_task, progress, choice=chosen, plan=planned, spent=spent, shared=shared)
    files.write(found, identity, design)
    return found


def _judge(design: Design, attribute: str, of_task: Margins, progress: Progress, **rest: object) -> Result:
    """Judge every training once, on prompts that nothing was chosen on, and compare the arms."""
    readings: dict[tuple[str, int], Readings] = {}
    listed: list[Axis] = []
    for seed in design.of_seeds:
        for arm in (None, *design.arms):  # the model itself first: it draws what is described
            runs = dict(_runs(design, arm, seed, progress))
            found: Readings = {}
            for part, run in runs.items():
                found |= axes.of_run(part, run, attribute, of_task)
            found |= understanding.measure(design, arm, seed, progress)
            readings[BASE if arm is None else arm.name, seed] = found
            listed = listed or axes.axes(runs[JUDGED], attribute, of_task)
    unread = {axis.name: reason for axis in listed if (reason := axes.unread(axis, design.tasks))}
    alike, read_of = settling.settled(readings)
    return result(design.arms, listed, unread, alike, [*design.of_seeds], design.alpha, read_of=read_of, **rest)


def _runs(design: Design, arm: Arm | None, seed: int, progress: Progress) -> Iterator[tuple[str, FinishedRun]]:
    """Yield an arm's judged parts with their runs; the row of the judged one stands in the sweep's leaderboard."""
    for part in design.tasks:
        if part == CHOSEN:
            continue
        run = open_run(measuring.run(design, part, arm, seed, progress))
        if part == JUDGED:
            row.add_run(leaderboard(design, run), run)
        yield part, run


def leaderboard(design: Design, run: FinishedRun) -> Path:
    """Return the CSV of the sweep's own leaderboard."""
    task = run.record.task
    return design.out / "leaderboards" / f"{task.name}-v{task.version}.csv"


def _attribute(design: Design) -> str:
    """Return the attribute or cross that the bias is of, which both labellers must give."""
    spaces = [design.run(part, None, design.seed)[0].labeller for part in (CHOSEN, JUDGED)]
    attribute = design.attribute or axes.main_attribute(spaces[0])
    for space in spaces:
        if attribute not in (names := axes.names_of(space)):
            raise FairbenchError(
                f"--attribute {attribute}: {space.card.name} gives no such attribute or cross, but {', '.join(names)}."
            )
    return attribute


def _image_tokens(design: Design) -> int:
    """Return the tokens of an image, as the model's own tokenizer cuts one that it drew; else 1."""
    run = design.run(CHOSEN, None, design.seed)[0]
    if not isinstance(run.adapter, TokenModel):
        return 1
    rows = reading.index(Store(design.store, look_only=True), run.image_key, run.requests)
    drawn = [row for row in rows if row.status == "ok"][:1]
    for _, image in ImageReader(Store(design.store, look_only=True)).stream(drawn):
        if not isinstance(image, ImageError):
            return int(run.adapter.encode([image]).shape[-1])
    raise FairbenchError(f"The model {design.model} drew no image that can be read: look at `fairbench run` first.")
