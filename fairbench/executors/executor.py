"""Where a run is done: `--executor` and its options, checked. Ray is imported only where it is asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fairbench.errors import FairbenchError
from fairbench.executors.settings import RaySettings

if TYPE_CHECKING:
    from fairbench.runs.distributed import Distribute

LOCAL: Final = "local"
RAY: Final = "ray"
EXECUTORS: Final = (LOCAL, RAY)


def distribution(
    executor: str,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: int | None = None,
    address: str | None = None,
) -> Distribute | None:
    """Return what has other processes do a run; None where the run's own process does it.

    Raises FairbenchError for options that no run can have, MissingExtra where Ray is not installed.
    """
    if executor not in EXECUTORS:
        raise FairbenchError(f"--executor {executor}: name {' or '.join(EXECUTORS)}.")
    options = {
        "--workers": workers,
        "--gpus-per-worker": gpus_per_worker,
        "--cpus-per-worker": cpus_per_worker,
        "--address": address,
    }
    if executor == LOCAL:
        given = [name for name, value in options.items() if value is not None]
        if given:
            raise FairbenchError(f"{given[0]} is an option of --executor {RAY}: add that, or leave the option out.")
        return None
    for name in ("--workers", "--cpus-per-worker"):
        number = options[name]
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise FairbenchError(f"{name} is {number!r}: give a whole number of at least 1, or leave it out.")
    gpus = gpus_per_worker
    if gpus is not None and not (math.isfinite(gpus) and gpus >= 0 and (gpus < 1 or gpus == int(gpus))):
        raise FairbenchError(f"--gpus-per-worker is {gpus!r}: give a whole number, a share below 1, or 0 for none.")
    from fairbench.executors import cluster

    cluster.require_ray()
    return cluster.distribution(RaySettings(workers, gpus_per_worker, cpus_per_worker, address))
