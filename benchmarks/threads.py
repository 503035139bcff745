"""Threads: images of the phantom per second, on an idle machine and beside four busy processes.

Each contender is a process that has loaded the model and makes blocks of images when its turn comes; all take turns in
one run, idle and beside the busy processes, and are compared within rounds. "shipped" is release 0.1.0: every operation
on all processors, GNU OpenMP's own waiting. The next three change its environment alone. "now" is what a command does:
a bounded wait, and small images decoded side by side, one thread each.

On a machine that others use as well, "idle" is not: the column "others" is the part of all processors that neither the
benchmark nor its busy processes used, and only the quieter half of a contender's turns counts.

Usage: python benchmarks/threads.py [--rounds 8] [--seconds 3] (Linux). Targets, for two processors, relative to
"shipped" on the idle machine: "now" at least 42/44 idle and 11/44 beside four busy processes (a fair share is a third).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from common import machine, show, verdict

BUSY = 4
TARGETS = {"idle": 42 / 44, "busy": 11 / 44}
NO_DEFAULTS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OPENCV_FOR_THREADS_NUM")
CONTENDERS: dict[str, dict[str, str]] = {
    "shipped": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "bounded": {"GOMP_SPINCOUNT": "2000"},
    "now": {},
}


class Turn(NamedTuple):
    """images per second; processor milliseconds per image; part of all processors that others used."""

    rate: float
    cost: float
    others: float


def serve(name: str, block: int) -> None:
    """Make blocks of images for as many seconds as each line of the input says; answer images and seconds."""
    from fairbench import threads

    if name == "now":
        threads.prepare()
    from fairbench.runs import spec
    from fairbench.runs.arguments import RunSettings

    made = spec.make(RunSettings("phantom", images_per_prompt=1, device="cpu"))
    adapter, requests = made.adapter, made.requests[:block]

    def together() -> None:
        for row in adapter.tokens(requests):
            adapter.model.pixels(row)

    make = (lambda: adapter.generate(requests)) if name == "now" else together
    make()
    print("ready", flush=True)
    for line in sys.stdin:
        images, start = 0, time.perf_counter()
        while not images or time.perf_counter() - start < float(line):
            make()
            images += block
        print(images, time.perf_counter() - start, flush=True)


class Contender:
    """A process that makes images when asked to."""

    def __init__(self, name: str, block: int) -> None:
        env = {k: v for k, v in os.environ.items() if k not in NO_DEFAULTS} | CONTENDERS[name]
        command = [sys.executable, __file__, "--serve", name, "--block", str(block)]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def turn(self, seconds: float, busy: list[int]) -> Turn:
        """Make images for some seconds; `busy`: ids of the processes that keep the machine busy meanwhile."""
        own = self.process.pid
        before = used(own), sum(map(used, busy)), machine_used()
        self._write(seconds)
        images, wall = map(float, self._read().split())
        after = used(own), sum(map(used, busy)), machine_used()
        mine, load, everyone = (b - a for a, b in zip(before, after, strict=True))
        others = max(0.0, everyone - mine - load) / wall / (os.cpu_count() or 1)
        return Turn(images / wall, 1000 * mine / images, others)

    def _write(self, seconds: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a contender ended with exit code {self.process.wait()}")
        return line


def used(pid: int) -> float:
    """Return the processor seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_used() -> float:
    """Return the processor seconds that all processes have used (Linux)."""
    total = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    user, nice, system, _idle, _iowait, *interrupts = map(int, total)
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def busy_processes(number: int) -> Iterator[list[int]]:
    """Keep the machine busy with processes that compute without end; yield their ids."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        time.sleep(0.3 if number else 0)  # they have started
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def quieter(turns: list[Turn]) -> list[Turn]:
    """Return the half of the turns in which others used least."""
    return sorted(turns, key=lambda turn: turn.others)[: (len(turns) + 1) // 2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="turns of each contender, idle and busy")
    parser.add_argument("--seconds", type=float, default=3, help="least length of a turn")
    parser.add_argument("--block", type=int, default=32, help="images made at a time")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="contenders")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.block)
        return
    print(machine())
    names = list(dict.fromkeys(["shipped", *args.only]))
    contenders = {name: Contender(name, args.block) for name in names}
    turns: dict[tuple[str, str], list[Turn]] = {(n, load): [] for n in names for load in TARGETS}
    try:
        for number in range(args.rounds):
            first = number % len(names)
            for name in [*names[first:], *names[:first]]:
                for load in TARGETS:
                    with busy_processes(BUSY if load == "busy" else 0) as busy:
                        turns[name, load].append(contenders[name].turn(args.seconds, busy))
    finally:
        for contender in contenders.values():
            contender.process.kill()
            contender.process.wait()
    report(names, {key: quieter(of_key) for key, of_key in turns.items()})


def report(names: list[str], turns: dict[tuple[str, str], list[Turn]]) -> None:
    """Print rates, and those of "now" relative to what shipped, on the idle machine."""
    rate = {key: median(turn.rate for turn in of_key) for key, of_key in turns.items()}
    base = rate["shipped", "idle"]
    show(
        ["contender", "machine", "images/s", "relative", "processor ms/image", "others"],
        [
            [
                name,
                load,
                f"{rate[name, load]:.1f}",
                f"{rate[name, load] / base:.2f}",
                f"{median(t.cost for t in turns[name, load]):.1f}",
                f"{median(t.others for t in turns[name, load]):.0%}",
            ]
            for name in names
            for load in TARGETS
        ],
    )
    for load, target in TARGETS.items():
        if "now" in names:
            print(verdict(f"now, {load}, against shipped, idle", rate["now", load] / base, target, at_most=False))


if __name__ == "__main__":
    main()
