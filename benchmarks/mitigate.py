"""`make mitigate`: balance the phantom, then ask whether it helped: synthesize -> SFT -> BPO -> run -> compare.

Every step is a command that a user could type; a stopped one goes on. Occupations that training saw (in other words)
and others that it never saw are judged apart, on corrected `concentration`, by the upper end of its interval. Exit
code 1 where a bar is not met.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fairbench.storage import folders, kinds

ROOT = Path(__file__).resolve().parents[1]
TASK, TABLE = "phantom-mitigation", "table.md"
IMAGES = 160
PER_GROUP = 8
"""Images of each group for each wording of each occupation: 8 x 6 x 8 x 8 = 3,072."""
ATTRIBUTES = ("gender", "race4", "gender_x_race4")
MOST = {"gender": 0.16, "race4": 0.25, "gender_x_race4": 0.16}
"""Bars on the seen occupations: upper end of the method's corrected `concentration`, as a share of the baseline's."""
TRAINED = {
    "sft": ("sft", []),
    "bpo": ("bpo", ["--from", "{work}/sft"]),
    "sft-continued": ("sft", ["--from", "{work}/sft", "--steps", "{bpo_compute}"]),
    "i2t": ("i2t", []),
}
ARMS = {"none": "none", "balanced-prompting": "balanced-prompting", "sft": "lora:{work}/sft", "bpo": "lora:{work}/bpo"}
MORE = {
    "any-gender-suffix": "any-gender-suffix",
    "any-race-suffix": "any-race-suffix",
    "any-mix-suffix": "any-mix-suffix",
    "i2t": "lora:{work}/i2t",
    "sft-continued": "lora:{work}/sft-continued",
}
TOLD = ("none", "sft", "bpo", "sft-continued", "i2t")
"""Arms that are asked to draw a named group: the others write prompts of their own, or leave the model as it is."""


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
    parser.add_argument("--full", action="store_true", help="further arms: suffixes, i2t, continued SFT")
    parser.add_argument("--leaderboard", type=Path, help="CSV to which every run's row is added, with its evidence")
    parser.add_argument("--images", type=int, default=IMAGES, help="images a prompt and arm")
    options = parser.parse_args()
    started = time.monotonic()
    work, arms = options.work, ARMS | (MORE if options.full else {})
    folders.check_file(
        work / TABLE, "a table of this benchmark", kinds.starting_with(b"| occupations | arm |"), option="--work: its"
    )
    train(work, options.full)
    runs = {
        (arm, part): measure(work, arm, method.format(work=work), part, options.images, options.leaderboard)
        for part in ("seen", "unseen", "stated")
        for arm, method in arms.items()
        if part != "stated" or arm in TOLD
    }
    for part in ("seen", "unseen"):
        compare(work, part, [runs[arm, part] for arm in arms])
        compare(work, f"{part}-after-sft", [runs["sft", part], runs["bpo", part]])
        if options.full:
            compare(work, f"{part}-same-compute", [runs["sft-continued", part], runs["bpo", part]])
    compare(work, "stated", [runs[arm, "stated"] for arm in arms if arm in TOLD])
    bars = judge(work, runs, list(arms))
    text = table(runs, arms)
    (work / TABLE).write_text(text)
    print(text)
    for bar in bars:
        print(f"{'met    ' if bar.holds else 'NOT MET'} {bar.name}: {bar.value:.4f}, at most {bar.most:.4f}")
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")
    sys.exit(0 if all(bar.holds for bar in bars) else 1)


def fairbench(*args: str) -> None:
    """Run a command; its faults are ours."""
    print("fairbench", *args, flush=True)
    if subprocess.run([sys.executable, "-m", "fairbench", *args], check=False).returncode:
        sys.exit(1)


def train(work: Path, full: bool) -> None:
    """Make the balanced set and the adapters; what is there already is kept where it is the same, else refused."""
    data = work / "set" / "manifest.json"
    fairbench(
        "synthesize",
        "--model",
        "phantom",
        "--task",
        f"{TASK}-seen",
        "--per-group",
        str(PER_GROUP),
        "--templates",
        str(ROOT / "benchmarks" / "mitigation-templates.txt"),
        "--store",
        str(work / "store"),
        "--out",
        str(data.parent),
    )
    for name, (kind, more) in TRAINED.items():
        if name in ("sft-continued", "i2t") and not full:
            continue
        extra = [part.format(work=work, bpo_compute=bpo_compute()) for part in more]
        fairbench(
            "train",
            kind,
            "--model",
            "phantom",
            "--data",
            str(data),
            "--preset",
            "phantom",
            "--out",
            str(work / name),
            *extra,
        )


def bpo_compute() -> int:
    """Return how many SFT steps read as many images as the BPO of the preset: one of each of eight groups a row."""
    from fairbench.training.presets import settings

    bpo, sft = settings("bpo", "phantom", {}), settings("sft", "phantom", {})
    return math.ceil((bpo.steps or 0) * bpo.batch * 8 / sft.batch)


def measure(work: Path, arm: str, method: str, part: str, images: int, leaderboard: Path | None) -> Path:
    """Run an arm on a task and return its folder."""
    folder = work / "runs" / f"{part}-{arm}"
    count = str(images) if part != "stated" else str(max(2, images // 4))
    fairbench(
        "run",
        "--model",
        "phantom",
        "--method",
        method,
        "--task",
        f"{TASK}-{part}",
        "--images-per-prompt",
        count,
        "--store",
        str(work / "store"),
        "--out",
        str(folder),
        "--no-sheets",
        "--quiet",
    )
    if leaderboard is not None and part != "stated":
        fairbench(
            "leaderboard", "add", str(folder), "--leaderboard", str(leaderboard.with_name(f"{TASK}-{part}-v1.csv"))
        )
    return folder


def estimates(folder: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return (metric, attribute, estimate) -> the task's row, for this list."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    return {(r["metric"], r["attribute"], r["estimate"]): r for r in rows if r["scope"] == "task"}


def compare(work: Path, name: str, folders: list[Path]) -> None:
    """Compare runs, the first being the baseline."""
    fairbench("compare", *map(str, folders), "--rd-margins", "--out", str(work / f"compare-{name}"))


def effect(work: Path, name: str, run: int, attribute: str, estimand: str) -> dict[str, float]:
    """Return an effect of the run with this number (0: the baseline) for this list, and its 90 % interval."""
    with (work / f"compare-{name}" / "compare.csv").open(newline="", encoding="utf-8") as file:
        wanted = (chr(ord("A") + run), attribute, estimand, "this list")
        (row,) = [r for r in csv.DictReader(file) if (r["run"], r["attribute"], r["estimand"], r["scope"]) == wanted]
    found = {key: float(row[key]) for key in ("effect", "low", "high", "margin") if row[key]}
    reach = (found["high"] - found["low"]) / 2 * 1.645 / 1.96
    return found | {"low90": found["effect"] - reach, "high90": found["effect"] + reach}


def judge(work: Path, runs: dict[tuple[str, str], Path], arms: list[str]) -> list[Bar]:
    """Return every claim of the mitigation with its bar."""
    bars, base = [], estimates(runs["none", "seen"])
    for arm in ("sft", "bpo"):
        number, found = arms.index(arm), estimates(runs[arm, "seen"])
        for attribute, most in MOST.items():
            whole, upper = (
                base["concentration", attribute, "corrected"]["value"],
                found["concentration", attribute, "corrected"]["ci_high"],
            )
            words = f"seen, {arm}: concentration of {attribute}, upper end over the baseline's value"
            bars.append(Bar(words, upper / whole, most))
        for attribute in ATTRIBUTES:
            change = effect(work, "unseen", number, attribute, "concentration corrected")
            bars.append(Bar(f"unseen, {arm}: change of concentration of {attribute}, upper end", change["high"], 0.0))
        for part in ("seen", "unseen"):
            kept = effect(work, part, number, "quality", "clip_score")
            bars.append(equivalent(f"{part}, {arm}: change of CLIP score", kept))
        told = [a for a in arms if a in TOLD].index(arm)
        kept = effect(work, "stated", told, "faces", "attribute-following")
        bars.append(equivalent(f"{arm}: change of attribute-following", kept))
    for part in ("seen", "unseen"):
        change = effect(work, f"{part}-after-sft", 1, "gender_x_race4", "rd@n0")
        words = f"{part}: RD of gender x race, BPO less SFT, upper end of the 90 % interval"
        bars.append(Bar(words, change["high90"], change["margin"]))
    return bars


def equivalent(name: str, change: dict[str, float]) -> Bar:
    """Return the bar of two one-sided tests at 5 %: the 90 % interval lies within the task card's margin."""
    far = max(abs(change["low90"]), abs(change["high90"]))
    return Bar(f"{name}, farther end of its 90 % interval", far, change["margin"])


def table(runs: dict[tuple[str, str], Path], arms: dict[str, str]) -> str:
    """Return the results as a Markdown table."""
    names = [
        "gender concentration",
        "race concentration",
        "gender x race concentration",
        "gender RD",
        "race RD",
        "gender x race RD",
        "CLIP score",
    ]
    head = f"| occupations | arm | {' | '.join(names)} | follows |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|---|"]
    for part in ("seen", "unseen"):
        for arm in arms:
            found = estimates(runs[arm, part])
            cells = [interval(found["concentration", a, "corrected"]) for a in ATTRIBUTES]
            cells += [f"{found['rd', a, 'raw']['value']:.3f}" for a in ATTRIBUTES]
            score = found.get(("clip_score", "quality", "raw"))
            told = f"{follows(runs[arm, 'stated']):.3f}" if (arm, "stated") in runs else ""
            lines.append(f"| {part} | {arm} | {' | '.join(cells)} | {score['value']:.2f} | {told} |" if score else "")
    return "\n".join(lines) + "\n"


def follows(folder: Path) -> float:
    """Return the share of faces that show what their prompt states, the mean over prompts."""
    return estimates(folder)["attribute-following", "faces", "raw"]["value"]


def interval(row: dict[str, float]) -> str:
    return f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


if __name__ == "__main__":
    main()
