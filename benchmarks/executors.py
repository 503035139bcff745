"""Two Ray workers against one, and one against none: images per second of the phantom, drawn and labelled.

One thread per worker in all arms, which take turns on one cluster and each have an empty store. Start-up is left out:
the clock starts a while (--settle) after an arm's first block is done, when all workers work. How many images are drawn
is chosen so that one worker needs at least --seconds. The metrics of all arms must be equal, value for value.
Usage: python benchmarks/executors.py [--seconds 60] [--settle 10] [--rounds 3] [--model phantom]
Targets: two workers at least 1.7 times as fast as one, on two idle processors; one at most 15 % slower than none.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from common import machine, show, verdict

from fairbench import threads

threads.prepare()

from fairbench.executors import cluster  # noqa: E402
from fairbench.executors.settings import RaySettings  # noqa: E402
from fairbench.runs import pipeline, spec  # noqa: E402
from fairbench.runs.arguments import RunSettings  # noqa: E402
from fairbench.storage.store import Store  # noqa: E402

BETTER, OVERHEAD = 1.7, 1.15


class Clock:
    """Progress that notes when units are done. steps: the moment and the number of each stage's advance."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images", price: float | None = None) -> Iterator[Clock]:
        """Open a stage."""
        yield self

    def advance(self, count: int = 1) -> None:
        """Note that units are done."""
        self.steps.append((time.perf_counter(), count))

    def within(self, units: float) -> None:
        """Ignore the movement."""

    def rate(self, settle: float) -> float:
        """Return units per second, from the first advance that is `settle` seconds after the very first to the last."""
        begin = next(moment for moment, _ in self.steps if moment >= self.steps[0][0] + settle)
        counted = sum(count for moment, count in self.steps if moment > begin)
        return counted / (self.steps[-1][0] - begin)


def _run(model: str, images: int, workers: int, settle: float) -> tuple[float, Any]:
    """Do a run of so many images per prompt on an empty store; return units per second, and the metrics."""
    settings = RunSettings(model, images_per_prompt=images, scorers=(), batch_size=16)
    clock, plan = Clock(), spec.make(settings)
    distribute = cluster.distribution(RaySettings(workers, cpus_per_worker=1)) if workers else None
    with tempfile.TemporaryDirectory() as folder:
        outcome = pipeline.run(plan, Store(Path(folder)), clock, distribute)
    assert outcome.metrics is not None
    return clock.rate(settle), outcome.metrics


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="work of one worker, at least")
    parser.add_argument("--settle", type=float, default=10, help="seconds after an arm's first block that do not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="phantom", help="phantom, or phantom-exact for a quick look")
    args = parser.parse_args()
    print(machine())
    arms = {"none": 0, "one": 1, "two": 2}
    rates: dict[str, list[float]] = {name: [] for name in arms}
    tables = []
    with cluster.connected(RaySettings(workers=2, cpus_per_worker=1)):
        prompts = len(spec.make(RunSettings(args.model, scorers=(), images_per_prompt=1)).prompts)
        first, _ = _run(args.model, 16, 0, 0)
        images = max(16, math.ceil((args.seconds + args.settle) * first / 2 / prompts))  # each is drawn and labelled
        print(f"{images * prompts} images per arm and round")
        for turn in range(args.rounds):
            for name in [*list(arms)[turn % 3 :], *list(arms)[: turn % 3]]:
                rate, metrics = _run(args.model, images, arms[name], args.settle)
                rates[name].append(rate / 2)
                tables.append(metrics)
    show(["workers", "images/s, median"], [[name, f"{median(r):.1f}"] for name, r in rates.items()])
    faster = median(two / one for two, one in zip(rates["two"], rates["one"], strict=True))
    slower = median(none / one for none, one in zip(rates["none"], rates["one"], strict=True))
    print(verdict("two workers against one, times as fast", faster, BETTER, at_most=False))
    print(verdict("none against one worker, times as fast", slower, OVERHEAD, at_most=True))
    print(f"metrics of all {len(tables)} runs: {'equal' if all(t.equals(tables[0]) for t in tables) else 'NOT EQUAL'}")


if __name__ == "__main__":
    main()
