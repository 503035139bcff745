"""What the options of `--executor ray` come to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Workers of a run. None: as many as the machines hold.

    gpus_per_worker: with a fraction, workers share a GPU. address: of a running cluster; None: RAY_ADDRESS, else
    processes of this machine that end with the run.
    """

    workers: int | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: int | None = None
    address: str | None = None
