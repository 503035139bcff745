"""What is left of a run is handed out in the blocks of an ordinary run; what kills workers is found and given up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from fairbench.display.progress import Silent
from fairbench.errors import FairbenchError, MissingExtra
from fairbench.executors import cluster
from fairbench.executors.executor import distribution
from fairbench.executors.settings import RaySettings
from fairbench.executors.work import IMAGES, Task, Work
from fairbench.executors.worker import Answer
from fairbench.runs import images, labels, pipeline, spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading
from fairbench.storage.store import Store

ALL = frozenset({IMAGES, labels.STAGE})


@pytest.fixture
def plan() -> RunSpec:
    """Eight prompts of seven images in blocks of ten, and no scorers."""
    settings = RunSettings(
        "phantom-exact", "occupations-mini", images_per_prompt=7, limit_prompts=8, scorers=(), batch_size=10
    )
    return spec.make(settings)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def draw(plan: RunSpec, store: Store, task: Task) -> Answer:
    """Make a task's images in this process."""
    bar = Silent()
    rows = images.make(
        store,
        plan.image_key,
        task.items,
        plan.adapter,
        bar,
        method="none",
        adapter="phantom-exact",
        fixed_block=False,
        first=task.first,
    )
    return Answer(rows=rows)


def taken(work: Work, stages: frozenset[str] = ALL) -> list[Task]:
    """Take all tasks that can be had at once."""
    tasks = []
    while (task := work.take(stages, 2)) is not None:
        tasks.append(task)
    return tasks


def test_blocks_are_those_of_the_plan_less_what_the_store_has(plan: RunSpec, store: Store) -> None:
    first = taken(Work(plan, store))
    assert [len(t.items) for t in first] == [10] * 5 + [6]
    assert [r for t in first for r in t.items] == plan.requests
    assert [t.first for t in first] == [True] + [False] * 5
    draw(plan, store, Task(IMAGES, plan.requests[5:13]))  # the rest of a block, and the beginning of the next
    again = [t for t in taken(Work(plan, store)) if t.stage == IMAGES]
    assert [list(t.items) for t in again[:2]] == [plan.requests[:5], plan.requests[13:20]]
    assert not any(t.first for t in again)


def test_what_was_drawn_is_labelled_once_a_parcel_is_there_or_no_block_is_left(
    plan: RunSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "PARCEL", 20)
    work = Work(plan, store)
    stages = []
    while (task := work.take(ALL, 1)) is not None:
        stages.append((task.stage, len(task.items)))
        work.done(task, draw(plan, store, task) if task.stage == IMAGES else Answer())
    label = (labels.STAGE, 20)
    assert stages == [(IMAGES, 10)] * 2 + [label] + [(IMAGES, 10)] * 2 + [label] + [(IMAGES, 10), (IMAGES, 6)] + [
        (labels.STAGE, 16)
    ]
    assert work.left == 0


def test_drawing_waits_for_labellers_that_fall_behind(
    plan: RunSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairbench.executors.work.MAX_WAITING", 20)
    monkeypatch.setattr(labels, "PARCEL", 20)
    work, drawing, labelling = Work(plan, store), frozenset({IMAGES}), frozenset({labels.STAGE})
    for _ in range(2):
        task = work.take(drawing, 2)
        assert task is not None
        work.done(task, draw(plan, store, task))
    assert work.take(drawing, 2) is None
    task = work.take(labelling, 2)
    assert task is not None and len(task.items) == 20
    assert work.take(drawing, 2) is not None


def test_a_task_whose_worker_died_goes_to_another_and_twice_alone(plan: RunSpec, store: Store) -> None:
    work = Work(plan, store)
    task = work.take(ALL, 2)
    assert task is not None and not work.died(task, "killed")
    assert work.totals[IMAGES] == len(plan.requests)
    assert work.take(ALL, 2) is task
    assert not work.died(task, "killed")
    alone = [work.take(ALL, 2) for _ in range(10)]
    assert [t.items for t in alone if t is not None] == [[r] for r in plan.requests[:10]]


def test_an_image_that_kills_alone_is_a_failed_row_with_the_reason(plan: RunSpec, store: Store) -> None:
    draw(plan, store, Task(IMAGES, plan.requests[1:10]))
    work = Work(plan, store)
    assert [work.died(Task(IMAGES, plan.requests[:1], deaths=n), "killed") for n in range(3)] == [False, False, True]
    row = reading.index(store, plan.image_key, plan.requests)[0]
    assert row.status == "failed" and row.request is plan.requests[0]
    assert row.error == "the worker died each of 3 times that it had this image alone: killed"
    outcome = pipeline.run(plan, store, Silent())
    assert outcome.statuses["images"]["failed"] == 1


def test_where_nothing_was_ever_done_no_image_is_blamed(plan: RunSpec, store: Store) -> None:
    with pytest.raises(FairbenchError, match="Every worker dies in images: out of memory"):
        Work(plan, store).died(Task(IMAGES, plan.requests[:1], deaths=2), "out of memory")
    assert not store.shards("images", plan.image_key)


def test_an_image_that_kills_labellers_is_counted_as_one_without_labels(plan: RunSpec, store: Store) -> None:
    whole = pipeline.run(plan, Store(store.root.with_name("whole")), Silent())
    for request in plan.requests[:20]:
        draw(plan, store, Task(IMAGES, [request]))
    rows = reading.index(store, plan.image_key, plan.requests)
    stage = labels.LabelStage(store, plan.labeller, plan.faces_key, plan.labels_key)
    stage.label(rows[:1], {}, Silent())
    for shard in store.shards("labels", plan.labels_key):  # its faces are known, and labelling them kills
        shard.unlink()
    work = Work(plan, store)
    for row in rows[:2]:
        assert work.died(Task(labels.STAGE, [row], deaths=2), "out of memory")
    outcome = pipeline.run(
        plan, store, Silent(), lambda *_: dataclasses.replace(pipeline.Distributed(), failed=work.failed)
    )
    assert outcome.statuses["faces"]["failed"] == 1
    notice = next(n for n in outcome.notices if n.code == "detector-failed")
    assert "out of memory" in notice.sentence and rows[1].request.image_id.hex() in notice.sentence
    attributes = len(plan.labeller.declared.labels)
    unclear = Counter(whole.statuses["labels"])["unclear"] + attributes
    assert outcome.statuses["labels"]["unclear"] == unclear


def role_table(plan: RunSpec, resources: dict[str, float], **settings: object) -> list[tuple[str, int, float, str]]:
    roles = cluster.roles(RaySettings(**settings), plan, resources)  # type: ignore[arg-type]
    return [(" ".join(sorted(s[:6] for s in r.stages)), r.cpus, r.gpus, r.device) for r in roles]


def test_workers_share_the_machine(plan: RunSpec) -> None:
    both = ("faces  images", 1, 0.0, "cpu")
    assert role_table(plan, {"CPU": 2.0}) == [both] * 2
    assert role_table(plan, {"CPU": 2.0}, workers=1) == [("faces  images", 2, 0.0, "cpu")]
    draws, looks = ("images", 1, 0.0, "cpu"), ("faces ", 1, 0.0, "cpu")
    assert role_table(plan, {"CPU": 3.0}, workers=2, cpus_per_worker=1) == [draws, draws, looks]
    on_gpu = dataclasses.replace(plan, ctx=dataclasses.replace(plan.ctx, device="cuda"))
    draws_on_gpu = ("images", 1, 2.0, "cuda")
    assert role_table(on_gpu, {"CPU": 16.0, "GPU": 4.0}, gpus_per_worker=2) == [draws_on_gpu] * 2 + [looks] * 2
    assert role_table(on_gpu, {"CPU": 1.0, "GPU": 1.0}) == [("faces  images", 1, 1.0, "cuda")]


def test_what_the_cluster_lacks_is_said(plan: RunSpec) -> None:
    with pytest.raises(FairbenchError, match="3 workers need 6 CPUs and 0 GPUs, and the cluster has 4 and 0: name few"):
        role_table(plan, {"CPU": 4.0}, workers=3, cpus_per_worker=2)
    with pytest.raises(FairbenchError, match="the run's device is cpu"):
        role_table(plan, {"CPU": 4.0, "GPU": 1.0}, gpus_per_worker=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "slurm"}, "--executor slurm: name local or ray"),
        ({"executor": "local", "workers": 2}, "--workers is an option of --executor ray"),
        ({"executor": "ray", "workers": 0}, "--workers is 0: give a whole number"),
        ({"executor": "ray", "gpus_per_worker": 1.5}, "--gpus-per-worker is 1.5: give a whole number, a share"),
    ],
)
def test_options_that_no_run_can_have_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(FairbenchError, match=message):
        distribution(**options)  # type: ignore[arg-type]


def test_without_ray_the_extra_is_named_and_the_local_run_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'fairbench-umm\[ray\]'"):
        distribution("ray")
    assert distribution("local") is None
