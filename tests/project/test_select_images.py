"""The control without training: of many drawn images, those whose groups are even to the labeller of training."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fairbench
from benchmarks import select_images
from fairbench.errors import FairbenchError


def manifest(folder: Path, cells: dict[str, list[str]]) -> Path:
    """Write what `export --to images` writes of prompts whose images show these groups ("": no label)."""
    folder.mkdir(exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["file", "sha256", "prompt", "sample", "gender"])
        for prompt, groups in cells.items():
            for i, group in enumerate(groups):
                write.writerow([f"images/{prompt}-{i}.png", f"{(i * 7919) % 1009:064x}", prompt, i, group])
    return folder


def kept(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_groups_are_as_even_as_the_drawn_images_allow(tmp_path: Path) -> None:
    """No other choice of as many images has a smaller sum of squared counts: every choice is tried."""
    rng = np.random.default_rng(0)
    for trial in range(20):
        groups = rng.choice(["a", "b", "c"], 9, p=[0.7, 0.2, 0.1]).tolist()
        drawn = manifest(tmp_path / f"{trial}", {"p": groups})
        select_images.select(drawn, 4, ["gender"], tmp_path / f"{trial}.csv")
        chosen = [groups[int(row["sample_index"])] for row in kept(tmp_path / f"{trial}.csv")]
        squares = [sum(c.count(g) ** 2 for g in "abc") for c in map(list, itertools.combinations(groups, 4))]
        assert sum(chosen.count(g) ** 2 for g in "abc") == min(squares)


def test_images_without_a_label_are_not_kept_and_too_few_are_an_error(tmp_path: Path) -> None:
    drawn = manifest(tmp_path / "drawn", {"p": ["a", "", "a", "b", ""], "q": ["b", "b", "b", "b", "b"]})
    words = select_images.select(drawn, 2, ["gender"], tmp_path / "kept.csv")
    rows = kept(tmp_path / "kept.csv")
    assert {row["sample_index"] for row in rows if row["prompt"] == "p"} == {"0", "3"}
    assert {row["origin"] for row in rows} == {"generated"}
    assert words.startswith(
        "10 images drawn and read by the labeller, 4 kept (2.5 drawn for one), of 2 prompts, 1 with uneven groups"
    )
    with pytest.raises(FairbenchError, match="'p' has 3 labelled images, --keep wants 4: draw more"):
        select_images.select(drawn, 4, ["gender"], tmp_path / "more.csv")
    with pytest.raises(FairbenchError, match="has no column race4"):
        select_images.select(drawn, 1, ["race4"], tmp_path / "more.csv")
    assert not (tmp_path / "more.csv").exists()


@pytest.mark.long
def test_what_is_kept_is_judged_beside_the_run_that_drew_it(tmp_path: Path) -> None:
    task = ["--task", "phantom-mitigation-judged", "--limit-prompts", "2", "--store", "store", "--no-sheets", "--quiet"]
    for command in (
        ["run", "--model", "phantom-exact", "-n", "96", *task, "--out", "base"],
        ["export", "base", "--to", "images", "--out", "drawn"],
    ):
        subprocess.run([sys.executable, "-m", "fairbench", *command], check=True, cwd=tmp_path, capture_output=True)
    select_images.select(tmp_path / "drawn", 24, ["gender"], tmp_path / "kept.csv")
    kept_run = ["run", "--model", "folder:kept.csv", *task, "--labeller", "phantom-pixels", "--out", "kept"]
    judged = ["run", "--model", "phantom-exact", "-n", "96", *task, "--labeller", "phantom-pixels", "--out", "judged"]
    for command in (kept_run, judged):
        subprocess.run([sys.executable, "-m", "fairbench", *command], check=True, cwd=tmp_path, capture_output=True)
    effects = fairbench.compare(tmp_path / "judged", tmp_path / "kept").table
    one = effects[(effects.attribute == "gender") & (effects.estimand == "concentration")].iloc[0]
    assert one.n_prompts == 2 and one.effect < 0
