"""`make mitigate`: balance the phantom, then ask whether it helped: synthesize -> train -> run -> compare.

Every step is a command that a user could type; a stopped one goes on. Arms are trained with the labeller `phantom`, and
judged by `phantom-pixels`: the best is chosen on occupations that training never saw, and judged on others again, by
corrected `concentration` and the upper end of its interval for this list. With --full there are controls, and three
seeds of every training, whose spread is in an arm's interval. Exit code 1 where a bar is not met.

Commands run side by side, one on each core: that takes less time than one command on all of them.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from judgement import ATTRIBUTES, PARTS, STATED, Arm, estimates, judge, table

from fairbench.storage import folders, kinds

ROOT = Path(__file__).resolve().parents[1]
TASK, TABLE, JUDGE = "phantom-mitigation", "table.md", "phantom-pixels"
IMAGES = 160
PER_GROUP = 8
"""Images of each group for each wording of each occupation: 8 x 6 x 8 x 8 = 3,072."""
SEEDS = 3
TRAINED = {"sft": ("sft", ""), "bpo": ("bpo", "--from {sft}"), "distill": ("distill", "")}
CONTROLS = {
    "distill-exact": ("distill", "--exact"),
    "grpo": ("grpo", ""),
    "distill-hard": ("distill", "--hard"),
    "grpo-permuted": ("grpo", "--reward permuted"),
    "retained-alone": ("sft", "--retain 1"),
    "sft-continued": ("sft", "--from {sft} --steps {bpo_compute}"),
    "i2t": ("i2t", ""),
}
"""Arm -> command of `train`, and further options; {sft}: the SFT of the same seed."""
SUFFIXES = ("any-gender-suffix", "any-race-suffix", "any-mix-suffix")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/mitigation"))
    parser.add_argument("--full", action="store_true", help="controls and suffixes, three seeds of every training")
    parser.add_argument("--leaderboard", type=Path, help="CSV to which every run's row is added, with its evidence")
    parser.add_argument("--images", type=int, default=IMAGES, help="images a prompt and arm of the judged task")
    parser.add_argument("--steps", type=int, help="of every training, to try this script; else the preset's")
    options = parser.parse_args()
    started, work = time.monotonic(), options.work
    folders.check_file(
        work / TABLE, "a table of this benchmark", kinds.starting_with(b"| occupations | arm |"), option="--work: its"
    )
    arms = train(work, options.full, options.steps)
    parts = PARTS | STATED
    runs = {
        (arm.name, part): [work / "runs" / f"{part}-{arm.name}-{seed}" for seed in range(len(arm.methods))]
        for part in parts
        for arm in arms
        if arm.told or part in PARTS
    }
    side_by_side(
        functools.partial(measure, work, folder.name, method, part, options.images // parts[part])
        for arm in arms
        for part in parts
        for folder, method in zip(runs.get((arm.name, part), ()), arm.methods, strict=False)
    )
    if options.leaderboard is not None:
        publish([run for (_, part), folders in runs.items() if part in PARTS for run in folders], options.leaderboard)
    for part in (*PARTS, *STATED):
        compare(work, part, [runs[arm.name, part][0] for arm in arms if (arm.name, part) in runs])
    chosen, bars = judge(arms, runs, work)
    variants = [arm for arm in arms if arm.name == chosen]  # none, where no arm keeps what it must
    if variants:
        hacking(work, [arms[0], *variants], runs, options.images)
    text = table(arms, runs) + (selected(work, options.images) if options.full else "")
    (work / TABLE).write_text(text)
    print(text)
    print(f"chosen on the unseen occupations: {chosen}")
    for bar in bars:
        print(f"{'met    ' if bar.holds else 'NOT MET'} {bar.name}: {bar.value:.4f}, at most {bar.most:.4f}")
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")
    sys.exit(0 if all(bar.holds for bar in bars) else 1)


def fairbench(*args: str) -> None:
    """Run a command; its faults are ours."""
    print("fairbench", *args, flush=True)
    one_core = os.environ | {"OMP_NUM_THREADS": "1"}
    if subprocess.run([sys.executable, "-m", "fairbench", *args], env=one_core, check=False).returncode:
        sys.exit(1)


def one_by_one(commands: Sequence[Sequence[str]]) -> None:
    """Run commands that need those before them: what starts from an SFT comes after it."""
    for command in commands:
        fairbench(*command)


def side_by_side(jobs: Iterable[Callable[[], object]]) -> None:
    """Do jobs, as many at once as there are cores; the first fault is raised when those under way have ended."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        started = [pool.submit(job) for job in jobs]
        try:
            for job in concurrent.futures.as_completed(started):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def train(work: Path, full: bool, steps: int | None) -> list[Arm]:
    """Make the balanced set and the adapters, keeping what is there; return the arms."""
    data, store = work / "set", str(work / "store")
    wordings = str(ROOT / "benchmarks" / "mitigation-templates.txt")
    source = ("--model", "phantom", "--task", f"{TASK}-seen", "--per-group", str(PER_GROUP), "--templates", wordings)
    fairbench("synthesize", *source, "--store", store, "--out", str(data), "--quiet")
    arms = [Arm("none", ("none",), True), Arm("balanced-prompting", ("balanced-prompting",), False)]
    arms += [Arm(suffix, (suffix,), False) for suffix in SUFFIXES if full]
    chains: dict[Path, list[tuple[str, ...]]] = {}
    for name, (kind, more) in (TRAINED | (CONTROLS if full else {})).items():
        outs = [work / f"{name}-{seed}" for seed in range(SEEDS if full else 1)]
        for seed, out in enumerate(outs):
            common = ("--model", "phantom", "--data", str(data), "--preset", "phantom", "--seed", str(seed))
            extra = more.format(sft=work / f"sft-{seed}", bpo_compute=bpo_compute()).split()
            extra += ["--steps", str(steps)] if steps else []
            chain = chains.setdefault(work / f"sft-{seed}" if "{sft}" in more else out, [])
            chain.append(("train", kind, *common, *extra, "--out", str(out), "--quiet"))
        arms.append(Arm(name, tuple(f"lora:{out}" for out in outs), True))
    side_by_side(functools.partial(one_by_one, chain) for chain in chains.values())
    return arms


def bpo_compute() -> int:
    """Return how many SFT steps read as many images as the BPO of the preset: one of each of eight groups a row."""
    from fairbench.training.presets import settings

    bpo, sft = settings("bpo", "phantom", {}), settings("sft", "phantom", {})
    return math.ceil((bpo.steps or 0) * bpo.batch * 8 / sft.batch)


def measure(work: Path, name: str, method: str, part: str, images: int, labeller: str = JUDGE) -> Path:
    """Run a method on a task by the labels of one labeller, and return the run's folder."""
    folder = work / "runs" / name
    what = ("--model", "phantom", "--method", method, "--task", f"{TASK}-{part}", "--labeller", labeller)
    where = ("--images-per-prompt", str(images), "--store", str(work / "store"), "--out", str(folder))
    fairbench("run", *what, *where, "--no-sheets", "--no-report", "--quiet")
    return folder


def publish(runs: Sequence[Path], leaderboard: Path) -> None:
    """Add runs to the leaderboards of their tasks."""
    for run in runs:
        board = leaderboard.with_name(f"{TASK}-{run.name.split('-')[0]}-v1.csv")
        fairbench("leaderboard", "add", str(run), "--leaderboard", str(board))


def compare(work: Path, name: str, folders: list[Path]) -> None:
    """Compare runs, the first being the baseline."""
    fairbench("compare", *map(str, folders), "--rd-margins", "--out", str(work / f"compare-{name}"))


def hacking(work: Path, arms: Sequence[Arm], runs: dict[tuple[str, str], list[Path]], images: int) -> None:
    """Print what tells an arm that pleases the labeller of training alone; the images are read by it, too."""
    trained = [
        measure(work, f"judged-{arm.name}-0-trained", arm.methods[0], "judged", images, "phantom") for arm in arms
    ]
    judged = [runs[arm.name, "judged"][0] for arm in arms]
    os.environ["FAIRBENCH_STORE"] = str(work / "store")  # blank images and near-copies are seen in pixels
    fairbench("compare", *map(str, trained + judged), "--hacking", "--out", str(work / "compare-hacking"))


def selected(work: Path, images: int) -> str:
    """Return the row of a control without training: four times as many images, kept by the labeller of training."""
    drawn = measure(work, "judged-drawn", "none", "judged", 4 * images, "phantom")
    kept = work / "kept.csv"
    fairbench("export", str(drawn), "--to", "images", "--out", str(work / "drawn"))
    select = ROOT / "benchmarks" / "select_images.py"
    keep = ("--keep", str(images), "--out", str(kept))
    subprocess.run([sys.executable, str(select), str(work / "drawn"), *keep], check=True)
    folder = work / "runs" / "judged-selected"
    what = ("--model", f"folder:{kept}", "--task", f"{TASK}-judged", "--labeller", JUDGE)
    fairbench("run", *what, "--store", str(work / "store"), "--out", str(folder), "--no-sheets", "--no-report", "-q")
    cells = [str(estimates(folder)["concentration", a, "corrected"]) for a in ATTRIBUTES]
    return f"| judged | selected | {' | '.join(cells)} |  |  |\n"


if __name__ == "__main__":
    main()
