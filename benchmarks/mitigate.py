"""`make mitigate`: balance the phantom, then ask whether it helped: synthesize -> train -> run -> compare.

Every step is a command that a user could type; a stopped one goes on. Arms are trained with the labeller `phantom`, and
judged by `phantom-pixels`: the best is chosen on occupations that training never saw, and judged on others again, by
corrected `concentration` and the upper end of its interval for this list. With --full there are controls, and three
seeds of every training, whose spread is in an arm's interval. Exit code 1 where a bar is not met.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from fairbench.storage import folders, kinds

ROOT = Path(__file__).resolve().parents[1]
TASK, TABLE, JUDGE = "phantom-mitigation", "table.md", "phantom-pixels"
IMAGES = 160
PER_GROUP = 8
"""Images of each group for each wording of each occupation: 8 x 6 x 8 x 8 = 3,072."""
PARTS = {"unseen": 2, "judged": 1}
STATED = {"stated": 10, "judged-stated": 10}
"""Task -> what the images per prompt are divided by; a stated task has a prompt for each group."""
ATTRIBUTES = ("gender", "race4", "gender_x_race4")
BAR = 0.03
"""Upper end of corrected `concentration` of race on the judged occupations, of the chosen arm."""
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
CLIP, FOLLOWS = ("clip_score", "quality", "raw"), ("attribute-following", "faces", "raw")
Key = tuple[str, str, str]
"""Metric, attribute, estimate."""


@dataclass(frozen=True)
class Arm:
    """What is judged. methods: of `run`, one for each training seed. told: whether it is asked for stated groups."""

    name: str
    methods: tuple[str, ...]
    told: bool


@dataclass(frozen=True)
class Found:
    """A value and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Bar:
    """A claim that must hold."""

    name: str
    value: float
    most: float

    @property
    def holds(self) -> bool:
        return self.value <= self.most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/mitigation"))
    parser.add_argument("--full", action="store_true", help="controls and suffixes, three seeds of every training")
    parser.add_argument("--leaderboard", type=Path, help="CSV to which every run's row is added, with its evidence")
    parser.add_argument("--images", type=int, default=IMAGES, help="images a prompt and arm of the judged task")
    options = parser.parse_args()
    started, work = time.monotonic(), options.work
    folders.check_file(
        work / TABLE, "a table of this benchmark", kinds.starting_with(b"| occupations | arm |"), option="--work: its"
    )
    arms = train(work, options.full)
    runs = {
        (arm.name, part): [
            measure(work, f"{part}-{arm.name}-{seed}", method, part, options.images // share, options.leaderboard)
            for seed, method in enumerate(arm.methods)
        ]
        for part, share in (PARTS | STATED).items()
        for arm in arms
        if arm.told or part in PARTS
    }
    for part in (*PARTS, *STATED):
        compare(work, part, [runs[arm.name, part][0] for arm in arms if (arm.name, part) in runs])
    chosen, bars = judge(arms, runs, work)
    hacking(work, [arm for arm in arms if arm.name in ("none", chosen)], runs, options.images)
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
    if subprocess.run([sys.executable, "-m", "fairbench", *args], check=False).returncode:
        sys.exit(1)


def train(work: Path, full: bool) -> list[Arm]:
    """Make the balanced set and the adapters, keeping what is there; return the arms."""
    data, store = work / "set", str(work / "store")
    wordings = str(ROOT / "benchmarks" / "mitigation-templates.txt")
    source = ("--model", "phantom", "--task", f"{TASK}-seen", "--per-group", str(PER_GROUP), "--templates", wordings)
    fairbench("synthesize", *source, "--store", store, "--out", str(data))
    arms = [Arm("none", ("none",), True), Arm("balanced-prompting", ("balanced-prompting",), False)]
    arms += [Arm(suffix, (suffix,), False) for suffix in SUFFIXES if full]
    for name, (kind, more) in (TRAINED | (CONTROLS if full else {})).items():
        outs = [work / f"{name}-{seed}" for seed in range(SEEDS if full else 1)]
        for seed, out in enumerate(outs):
            extra = more.format(sft=work / f"sft-{seed}", bpo_compute=bpo_compute()).split()
            common = ("--model", "phantom", "--data", str(data), "--preset", "phantom", "--seed", str(seed))
            fairbench("train", kind, *common, *extra, "--out", str(out))
        arms.append(Arm(name, tuple(f"lora:{out}" for out in outs), True))
    return arms


def bpo_compute() -> int:
    """Return how many SFT steps read as many images as the BPO of the preset: one of each of eight groups a row."""
    from fairbench.training.presets import settings

    bpo, sft = settings("bpo", "phantom", {}), settings("sft", "phantom", {})
    return math.ceil((bpo.steps or 0) * bpo.batch * 8 / sft.batch)


def measure(
    work: Path, name: str, method: str, part: str, images: int, leaderboard: Path | None = None, labeller: str = JUDGE
) -> Path:
    """Run a method on a task by the labels of one labeller, and return the run's folder."""
    folder = work / "runs" / name
    what = ("--model", "phantom", "--method", method, "--task", f"{TASK}-{part}", "--labeller", labeller)
    where = ("--images-per-prompt", str(images), "--store", str(work / "store"), "--out", str(folder))
    fairbench("run", *what, *where, "--no-sheets", "--no-report", "--quiet")
    if leaderboard is not None and part in PARTS:
        board = leaderboard.with_name(f"{TASK}-{part}-v1.csv")
        fairbench("leaderboard", "add", str(folder), "--leaderboard", str(board))
    return folder


def compare(work: Path, name: str, folders: list[Path]) -> None:
    """Compare runs, the first being the baseline."""
    fairbench("compare", *map(str, folders), "--rd-margins", "--out", str(work / f"compare-{name}"))


def estimates(folder: Path) -> dict[Key, Found]:
    """Return the task's estimates, for this list."""
    import pyarrow.parquet as pq

    rows = [row for row in pq.read_table(folder / "metrics.parquet").to_pylist() if row["scope"] == "task"]
    of = {(r["metric"], r["attribute"], r["estimate"]): (r["value"], r["ci_low"], r["ci_high"]) for r in rows}
    return {key: Found(*(math.nan if v is None else v for v in values)) for key, values in of.items()}


def over_seeds(runs: Sequence[Path], key: Key, level: float = 0.95) -> Found:
    """Return the mean over training seeds with Student's t; of one run, its own interval.

    What seeds differ by holds the images' own error, which three of them can undercut by chance.
    """
    found = [estimates(run)[key] for run in runs]
    if len(found) == 1:
        return found[0]
    values = np.array([each.value for each in found])
    own_error = np.array([(each.high - each.low) / 2 / stats.norm.ppf(0.975) for each in found])
    error = max(values.std(ddof=1), math.sqrt(np.mean(own_error**2))) / math.sqrt(len(values))
    reach = stats.t.ppf((1 + level) / 2, len(values) - 1) * error
    return Found(float(values.mean()), float(values.mean() - reach), float(values.mean() + reach))


def farthest(work: Path, arms: Sequence[Arm], arm: Arm, runs: dict[tuple[str, str], list[Path]], part: str) -> Bar:
    """Return the bar of equivalence with the model as it is: CLIP score, or of a stated task attribute-following.

    Two one-sided tests at 5 %: the 90 % interval of the change lies within the task card's margin.
    """
    key, name = (FOLLOWS, "attribute-following") if part in STATED else (CLIP, "CLIP score")
    run = [a.name for a in arms if (a.name, part) in runs].index(arm.name)
    with (work / f"compare-{part}" / "compare.csv").open(newline="", encoding="utf-8") as file:
        wanted = (chr(ord("A") + run), key[1], key[0], "this list")
        (row,) = [r for r in csv.DictReader(file) if (r["run"], r["attribute"], r["estimand"], r["scope"]) == wanted]
    effect, reach = float(row["effect"]), (float(row["high"]) - float(row["low"])) / 2 * 1.645 / 1.96
    if len(runs[arm.name, part]) > 1:
        base = estimates(runs["none", part][0])[key].value
        spread = over_seeds(runs[arm.name, part], key, 0.9)
        effect, reach = spread.value - base, max(reach, spread.high - spread.value)
    return Bar(f"{part}, {arm.name}: change of {name}, farther end", abs(effect) + reach, float(row["margin"]))


def judge(arms: list[Arm], runs: dict[tuple[str, str], list[Path]], work: Path) -> tuple[str, list[Bar]]:
    """Return the arm that is chosen on the unseen occupations, and what it must meet on the judged ones.

    Chosen is, of the trainings that keep CLIP score and following there, the one of least race concentration, by the
    upper end. It is written down before the judged task is looked at, and not chosen again.
    """
    race = ("concentration", "race4", "corrected")
    record, among = work / "chosen.json", {arm.name: len(arm.methods) for arm in arms}
    if record.exists() and json.loads(record.read_text())["among"] != among:
        sys.exit(f"{record} was chosen among other arms or seeds: name another folder with --work.")
    if not record.exists():
        kept = [
            arm
            for arm in arms
            if arm.name in TRAINED | CONTROLS
            and all(farthest(work, arms, arm, runs, part).holds for part in ("unseen", "stated"))
        ]
        ends = {arm.name: over_seeds(runs[arm.name, "unseen"], race).high for arm in kept}
        known = {name: end for name, end in ends.items() if not math.isnan(end)}  # a refused correction has no end
        best = min(known, key=known.__getitem__, default=None)
        record.write_text(json.dumps({"chosen": best, "among": among}) + "\n")
    name = json.loads(record.read_text())["chosen"]
    if name is None:
        return "none keeps CLIP score and following", [Bar("an arm that keeps CLIP score and following", 1, 0)]
    arm = next(arm for arm in arms if arm.name == name)
    upper = over_seeds(runs[name, "judged"], race).high
    bars = [Bar(f"judged, {name}: concentration of race, upper end", upper, BAR)]
    for attribute in ATTRIBUTES:
        key = ("concentration", attribute, "corrected")
        before = estimates(runs["none", "judged"][0])[key].low
        bars.append(Bar(f"judged, {name}: {attribute}, upper end against the model's own lower end",
                        over_seeds(runs[name, "judged"], key).high, before))  # fmt: skip
    return name, [*bars, *(farthest(work, arms, arm, runs, part) for part in ("judged", "judged-stated", "stated"))]


def hacking(work: Path, arms: Sequence[Arm], runs: dict[tuple[str, str], list[Path]], images: int) -> None:
    """Print what tells an arm that pleases the labeller of training alone; the images are read by it, too."""
    trained = [
        measure(work, f"judged-{arm.name}-0-trained", arm.methods[0], "judged", images, labeller="phantom")
        for arm in arms
    ]
    judged = [runs[arm.name, "judged"][0] for arm in arms]
    os.environ["FAIRBENCH_STORE"] = str(work / "store")  # blank images and near-copies are seen in pixels
    fairbench("compare", *map(str, trained + judged), "--hacking", "--out", str(work / "compare-hacking"))


def selected(work: Path, images: int) -> str:
    """Return the row of a control without training: four times as many images, kept by the labeller of training."""
    drawn = measure(work, "judged-drawn", "none", "judged", 4 * images, labeller="phantom")
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


def table(arms: list[Arm], runs: dict[tuple[str, str], list[Path]]) -> str:
    """Return the results as a Markdown table."""
    head = ["occupations", "arm", "gender concentration", "race concentration", "gender x race concentration",
            "CLIP score", "follows"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for part, stated in zip(PARTS, STATED, strict=True):
        for arm in arms:
            cells = [str(over_seeds(runs[arm.name, part], ("concentration", a, "corrected"))) for a in ATTRIBUTES]
            score = over_seeds(runs[arm.name, part], CLIP).value
            told = f"{over_seeds(runs[arm.name, stated], FOLLOWS).value:.3f}" if (arm.name, stated) in runs else ""
            lines.append(f"| {part} | {arm.name} | {' | '.join(cells)} | {score:.2f} | {told} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
