"""Ray: started or found, quiet, and divided among the workers of a run."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairbench import threads
from fairbench.errors import FairbenchError, MissingExtra, one_line
from fairbench.executors import pool
from fairbench.executors.settings import RaySettings
from fairbench.executors.work import Work
from fairbench.labelling.table_labeller import TableLabeller
from fairbench.protocols import Served
from fairbench.runs import labels
from fairbench.runs.distributed import Distribute, Distributed

if TYPE_CHECKING:
    from fairbench.display.progress import Progress
    from fairbench.runs.spec import RunSpec
    from fairbench.storage.store import Store

LOCAL: Final = "local"
"""Stands, for Ray, for a cluster that is started for the caller."""
OBJECT_STORE: Final = 128 * 1024 * 1024
"""Bytes of shared memory of a cluster that a run starts: what travels are plans and rows, no images."""


@dataclass(frozen=True, slots=True)
class Role:
    """What one worker does, and on what. stages: "images", "faces and labels", and names of scorers."""

    stages: frozenset[str]
    cpus: int
    gpus: float
    device: str


def require_ray() -> None:
    """Raise MissingExtra where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra("--executor ray", "ray")


def distribution(settings: RaySettings) -> Distribute:
    """Return what makes and stores, on the workers of a Ray cluster, what is left of a run."""

    def distribute(spec: RunSpec, store: Store, progress: Progress) -> Distributed:
        work = Work(spec, store)
        if not work.left:  # nothing is started for nothing
            return Distributed()
        store.create()
        with connected(settings) as resources:
            return pool.Pool(spec, store, work, roles(settings, spec, resources)).run(progress)

    return distribute


@contextmanager
def connected(settings: RaySettings) -> Iterator[Mapping[str, float]]:
    """Start or find a cluster, and yield what it has: "CPU" and "GPU". Raises FairbenchError where there is none.

    A cluster that this starts listens on this machine alone, and ends with the block. One that the caller's process is
    connected to already is used as it is.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE", "1")  # a container's small /dev/shm is enough
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # the default; saying so spares a warning
    address = settings.address or os.environ.get("RAY_ADDRESS") or LOCAL
    if address == LOCAL:  # 127.0.0.1 then; Ray replaces one that is named by the machine's own address
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    ours = not ray.is_initialized()
    if ours:
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
        if address == LOCAL:
            cpus = max(threads.available(), (settings.workers or 1) * (settings.cpus_per_worker or 1))
            options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        try:
            ray.init(**options)
        except Exception as err:  # Ray raises bare ones, too
            what = "Ray does not start on this machine" if address == LOCAL else f"there is no cluster at {address}"
            raise FairbenchError(f"--executor ray: {what} ({one_line(err)}).") from err
    try:
        yield ray.cluster_resources()
    finally:
        if ours:
            ray.shutdown()


def roles(settings: RaySettings, spec: RunSpec, resources: Mapping[str, float]) -> list[Role]:
    """Return what each worker does. Raises FairbenchError where the cluster is too small for the workers asked for.

    Workers that only label and score get the processors that those that draw leave; where none are left, each worker
    does everything. Rates and costs of servers are those of one process: one worker alone asks a server for images, one
    alone asks one about faces.
    """
    has_cpus, has_gpus = int(resources.get("CPU", 0)), resources.get("GPU", 0.0)
    device = spec.ctx.device.split(":")[0]
    gpus = settings.gpus_per_worker
    gpus = (1.0 if device == "cuda" else 0.0) if gpus is None else gpus
    if (device == "cuda") != (gpus > 0):
        raise FairbenchError(f"--gpus-per-worker {gpus:g}: the run's device is {device}; name another --device.")
    if ":" in spec.ctx.device:
        raise FairbenchError(f"--device {spec.ctx.device}: Ray gives each worker its own GPUs; name --device cuda.")
    workers = settings.workers or max(1, int(has_gpus / gpus) if gpus else has_cpus // (settings.cpus_per_worker or 1))
    cpus = settings.cpus_per_worker or (1 if gpus else max(1, has_cpus // workers))
    if workers * cpus > has_cpus or workers * gpus > has_gpus:
        raise FairbenchError(
            f"{workers} workers need {workers * cpus} CPUs and {workers * gpus:g} GPUs, and the cluster has {has_cpus} "
            f"and {has_gpus:g}: name fewer --workers, or less for each (--cpus-per-worker, --gpus-per-worker)."
        )
    drawers = 1 if isinstance(spec.adapter, Served) else workers
    labellers = workers - drawers + min((has_cpus - workers * cpus) // cpus, workers)
    label = frozenset() if isinstance(spec.labeller, TableLabeller) else frozenset({labels.STAGE})
    after = label | {s.name for s in spec.scorers if s.key is not None}
    draw = frozenset({"images"}) if labellers and after else after | {"images"}
    drawing = [Role(draw, cpus, gpus, device) for _ in range(drawers)]
    every = drawing + [Role(after, cpus, 0.0, "cpu" if gpus else device) for _ in range(labellers if after else 0)]
    if any(judge.endpoint is not None for judge in spec.labeller.judges):
        first = next(i for i, role in enumerate(every) if label <= role.stages)
        every = [r if i == first else Role(r.stages - label, r.cpus, r.gpus, r.device) for i, r in enumerate(every)]
    return [role for role in every if role.stages]
