"""How many threads to use, and how they wait for each other. Imports nothing heavy.

The number is that of the processors that this process may use: its affinity, cut by the quota of its control group,
as a container, a batch system or systemd sets it. A user's OMP_NUM_THREADS is respected.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SPINS: Final = 2000
"""How often a thread of GNU OpenMP looks for new work before it sleeps: about .1 ms, longer than the usual gap between
two layers. Its own default waits actively for some 20 ms, more than a time slice: beside other processes the waiting
thread then takes the processor from the one that it waits for.
"""
SPIN_MICROSECONDS: Final = 100
"""The same bound for ONNX Runtime."""


def count(limit: int | None = None) -> int:
    """Return the number of threads to use, at least 1 and at most `limit`."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    threads = int(stated) if stated.isdecimal() and int(stated) else available()
    return threads if limit is None else max(1, min(threads, limit))


def prepare() -> None:
    """Set what torch, BLAS, OpenCV and others read as they are imported; call it before. A user's values stay."""
    for name, value in environment(count()).items():
        os.environ.setdefault(name, value)


def environment(threads: int) -> dict[str, str]:
    """Return what torch, BLAS, OpenCV and others read as they are imported, for so many threads."""
    defaults = {
        "OMP_NUM_THREADS": str(threads),  # torch, MKL, OpenBLAS
        "OPENCV_FOR_THREADS_NUM": str(threads),
        # Every thread of mimalloc, pyarrow's default, keeps what it has freed: 30 % more memory for 20,000 images.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "TOKENIZERS_PARALLELISM": "false",  # else they warn at every fork
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if "OMP_WAIT_POLICY" not in os.environ:  # it states the same, and these would override it
        defaults |= {"GOMP_SPINCOUNT": str(SPINS), "KMP_BLOCKTIME": "0"}
    return defaults


def available(root: Path = Path("/")) -> int:
    """Return the number of processors that this process may use, at least 1; `root` is where /proc and /sys are."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Rounded up: a thread that waits for its share sleeps, an unused half of a processor is lost.
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([processors, *quotas]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the processor quotas of this process's control groups, and of the groups that these are in."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeError):  # not Linux, or hidden
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if not controllers:  # version 2; `unified` where both versions are mounted
            for mount in (mounts, mounts / "unified"):
                yield from _along(mount, group, _quota_v2)
        elif "cpu" in controllers.split(","):
            for mount in {mounts / controllers, mounts / "cpu"}:
                yield from _along(mount, group, _quota_v1)


def _along(mount: Path, group: str, quota_of: Callable[[Path], float | None]) -> Iterator[float]:
    """Yield the quotas from the top of a hierarchy down to a group.

    Inside a container the group's path can be the host's, of which nothing is mounted but the container's own group:
    at the top.
    """
    parts = [part for part in PurePosixPath(group).parts if part not in {"/", ".."}]
    for depth in range(len(parts) + 1):
        quota = quota_of(mount.joinpath(*parts[:depth]))
        if quota is not None:
            yield quota


def _quota_v2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")  # "max 100000" or "150000 100000"
    return _ratio(*words) if len(words) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    words = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]  # a quota of -1: none
    return _ratio(*words) if len(words) == 2 else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (OSError, UnicodeError):  # absent in a group without this controller, and at the top of a host
        return []


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def one_each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return function(item) of every item, as many at once as torch has threads, each computed by one thread.

    For work that is small and many: no thread waits for another, and floats do not depend on the number of threads.
    """
    from concurrent.futures import ThreadPoolExecutor

    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(threads, initializer=_alone) as pool:
            return list(pool.map(function, items))
    finally:  # this thread's own number has not changed, that of threads to come has
        torch.set_num_threads(threads)


def _alone() -> None:
    import torch

    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread takes its number when it first asks for it
