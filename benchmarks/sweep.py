"""The phantom's sweep: SFT, distillation and GRPO with and without capability data, three trainings each.

Two commands that a user could type, which take at most two hours on two idle cores; a stopped one goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 90
"""Of a training, its part of the set included: 7 arms x 3 seeds x 90 s = 32 minutes; the control takes longer."""
IMAGES = 40
"""Per prompt: of 8 to choose on, 8 or more to judge on, and a quarter of them under each of 64 that state a group."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--seconds", type=int, default=SECONDS, help="budget of a training")
    parser.add_argument("--images", type=int, default=IMAGES, help="images per prompt")
    parser.add_argument("--judge-task", default="phantom-mitigation-judged")
    parser.add_argument("--following-task", default="phantom-mitigation-judged-stated")
    parser.add_argument("--judge", default="phantom-pixels")
    options = parser.parse_args()
    work, store = options.work, ("--store", options.work / "store")
    templates = ROOT / "benchmarks" / "mitigation-templates.txt"
    made = ("--task", "phantom-mitigation-seen", "--templates", templates, "--per-group", 1, "--out", work / "set")
    fairbench("synthesize", "--model", "phantom", *made, *store)
    arms = ("--train", "sft,distill,grpo", "--retain", "0,.8", "--arm", "sft:.5", "--seeds", 3)
    asked: tuple[object, ...] = ("--task", "phantom-mitigation-unseen", "--judge-task", options.judge_task)
    asked += ("--following-task", options.following_task, "--judge", options.judge, "-n", options.images)
    asked += ("--stated-images", max(1, options.images // 4))
    paid = ("--preset", "phantom", "--budget", f"seconds:{options.seconds}")
    fairbench(
        "sweep", "--model", "phantom", "--data", work / "set", *arms, *asked, *paid, *store, "--out", work / "out"
    )


def fairbench(*args: object) -> None:
    """Run a command; its faults are ours."""
    words = [str(arg) for arg in args]
    print("fairbench", *words, flush=True)
    if subprocess.run([sys.executable, "-m", "fairbench", *words], check=False).returncode:
        sys.exit(1)


if __name__ == "__main__":
    main()
