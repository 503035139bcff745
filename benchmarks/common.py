"""What the benchmarks share: taking turns on a noisy machine, medians, and a plain table.

Imports nothing heavy, so that a script that measures its children's memory stays small itself.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

Times = Mapping[str, Sequence[float]]


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run all contenders once a round and return their seconds, a list a contender.

    Each round starts with the next contender, so that none always runs behind the same other one. Whatever slows the
    machine for a while slows the neighbours in a round alike: compare within rounds, with `ratio`.
    """
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in [*names[first:], *names[:first]]:
            start = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Times, above: str, below: str) -> float:
    """Return the median over rounds of time(above) / time(below)."""
    return median(a / b for a, b in zip(times[above], times[below], strict=True))


def machine() -> str:
    """Describe the machine in one line; a load above 0 before a benchmark starts means that others use it."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores{load}"


def peak_mb() -> float:
    """Return the process's peak resident memory, in megabytes."""
    import resource  # POSIX only, and only some scripts ask

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def show_added(times: Times, contender: str, images: int, target: float) -> None:
    """Print milliseconds per image of all contenders, and what `contender` adds to "direct", against its target."""
    per_image = {name: [1000 * t / images for t in seconds] for name, seconds in times.items()}
    rows = [[name, f"{median(t):.1f}", f"{min(t):.1f}"] for name, t in per_image.items()]
    show(["images of 256 px", "median ms", "fastest ms"], rows)
    added = median(a - b for a, b in zip(per_image[contender], per_image["direct"], strict=True))
    print(verdict("added per image, median over rounds", added, target, at_most=True, unit=" ms"))


def show(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: first column to the left, all others to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        print("  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))))


def verdict(what: str, value: float, target: float, at_most: bool, unit: str = "x") -> str:
    """Return one line that sets a measured value against its target."""
    met = value <= target if at_most else value >= target
    bound = "at most" if at_most else "at least"
    return f"{what}: {value:.2f}{unit} (target: {bound} {target:g}{unit}; {'met' if met else 'MISSED'})"
