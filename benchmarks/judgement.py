"""What `make mitigate` found: the estimates of its runs, which arm is chosen, what that must meet, and the table."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

PARTS = {"unseen": 2, "judged": 1}
STATED = {"stated": 10, "judged-stated": 10}
"""Task -> what the images per prompt are divided by; a stated task has a prompt for each group."""
ATTRIBUTES = ("gender", "race4", "gender_x_race4")
BAR = 0.03
"""Upper end of corrected `concentration` of race on the judged occupations, of the chosen arm."""
CLIP, FOLLOWS = ("clip_score", "quality", "raw"), ("attribute-following", "faces", "raw")
Key = tuple[str, str, str]
"""Metric, attribute, estimate."""


@dataclass(frozen=True)
class Arm:
    """What is judged. methods: of `run`, one for each training seed. told: whether it is asked for stated groups."""

    name: str
    methods: tuple[str, ...]
    told: bool

    @property
    def trained(self) -> bool:
        return self.methods[0].startswith("lora:")


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
            if arm.trained and all(farthest(work, arms, arm, runs, part).holds for part in ("unseen", "stated"))
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
