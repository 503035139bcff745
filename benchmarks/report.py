"""The page of a large run: seconds, peak memory, and the size of its folder.

The run has 50 prompts of 160 pictures, 384 pixels a side; making it is not part of what is measured. They show
mannequins under a little noise, so that their files are as large as those of photographs (some 250 KB as PNG).
Usage: python benchmarks/report.py [--images 8000] [--side 384]. Targets at 8,000: 60 s on two cores, 500 MB, 150 MB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine, show, verdict

import fairbench

PROMPTS = 50
MODEL = """
import numpy as np
from PIL import Image

from fairbench.phantom.renderer import RACES, render

version = 1


def draw(prompt, seed):
    rng = np.random.default_rng(seed)
    mannequin = render("female" if rng.random() < 0.4 else "male", RACES[rng.integers(4)], rng)
    large = np.asarray(Image.fromarray(mannequin).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    grain = rng.integers(-4, 5, large.shape, dtype=np.int16)
    return Image.fromarray((large + grain).clip(0, 255).astype(np.uint8))
"""


def _run(folder: Path, images: int, side: int) -> Path:
    (folder / "model.py").write_text(MODEL.replace("SIDE", str(side)), encoding="utf-8")
    run = fairbench.run(
        f"{folder / 'model.py'}:draw",
        task="occupations",
        labeller="phantom",
        images_per_prompt=images // PROMPTS,
        store=folder / "store",
        out=folder / "run",
        sheets=False,
    )
    return run.folder


def main() -> None:
    """Make the run, then its page in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--side", type=int, default=384)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = _run(folder, args.images, args.side)
        program = (
            "import resource, fairbench, sys; fairbench.report(sys.argv[1], out=sys.argv[2]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
        )
        seconds = []
        for out in ("first", "second"):  # the first also bundles the charts' script, which stays in the cache
            start = time.perf_counter()
            found = subprocess.run(
                [sys.executable, "-c", program, str(run), str(folder / out)], check=True, capture_output=True, text=True
            )
            seconds.append(time.perf_counter() - start)
        memory = int(found.stdout.split()[-1]) / 1e6
        size = sum(path.stat().st_size for path in (folder / "second").rglob("*") if path.is_file()) / 1e6
    show(["", "first", "again"], [["seconds", *(f"{each:.1f}" for each in seconds)]])
    print(verdict("page", seconds[1], 60, True, " s"))
    print(verdict("peak memory", memory, 500, True, " MB"))
    print(verdict("folder", size, 150, True, " MB"))


if __name__ == "__main__":
    main()
