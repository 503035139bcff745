"""Memory: how much more a run needs for every further image, from plan to evidence.

A run of tiny rendered images (`phantom-exact` at 16 pixels, two networks that label them) in a process of its own for
each number of images; the slope is the difference of the processes' peaks over the difference of the numbers.

Some megabytes of a peak are chance (what an allocator keeps), so the median of several runs counts.

Usage: python benchmarks/memory.py [--images 2000 20000] [--rounds 3]. Target: at most 1 KiB per image.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

from common import machine, show, verdict

TARGET = 1.0
PROMPTS = 8
CARD = """\
name: tiny
title: "Tiny rendered images"
adapter: phantom-exact
weights: null
sampling: {image_size: 16}
block_size: 256
labeller: phantom
default_task: occupations-mini
"""


def peak_kib(images: int, folder: Path) -> float:
    """Return the peak resident memory, in KiB, of a run of so many images."""
    card = folder / "tiny.yaml"
    card.write_text(CARD)
    command = [
        *(sys.executable, "-m", "fairbench", "run", "--quiet", "--no-sheets", "--model", str(card)),
        *("--images-per-prompt", str(images // PROMPTS)),
        *("--store", str(folder / "store"), "--out", str(folder / "run")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the run of {images} images ended with exit code {process.returncode}")
    return usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 20000], help=f"multiples of {PROMPTS}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each number")
    args = parser.parse_args()
    sizes = sorted(args.images)
    print(machine())
    measured: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(args.rounds):
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                measured[size].append(peak_kib(size, Path(folder)))
    peaks = {size: median(of_size) for size, of_size in measured.items()}
    show(["images", "peak MiB"], [[size, f"{peak / 1024:.0f}"] for size, peak in peaks.items()])
    for small, large in pairwise(sizes):
        slope = (peaks[large] - peaks[small]) / (large - small)
        print(verdict(f"slope from {small} to {large} images", slope, TARGET, at_most=True, unit=" KiB per image"))


if __name__ == "__main__":
    main()
