"""Quality by perceived group on the page: its numbers are those of the run's own scores and labels, in any order."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import fairbench
from fairbench.display.numbers import number
from fairbench.display.progress import Silent
from fairbench.reporting import build
from fairbench.reporting.charts import quality as charts
from fairbench.runs.quality import GroupQuality
from fairbench.stats.within_prompts import Contrast
from tests.builders.cli import make_run
from tests.builders.scorers import SCORER


def test_the_chart_holds_contrasts_within_prompts(tmp_path: Path) -> None:
    (tmp_path / "brightness.py").write_text(SCORER.format(body="pass"))
    args = ("--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "4", "-n", "36")
    args = (*args, "--plugins", tmp_path / "brightness.py", "--scorers", "brightness")
    run = fairbench.load(make_run(tmp_path / "run", *args))
    page = build.write([run], tmp_path / "out", Silent())
    script = (page.parent / "report/data/page.js").read_text()
    chart = json.loads(script.removeprefix('fairbench.give("page",').removesuffix(");\n"))["charts"][
        "quality-brightness"
    ]
    shown = {value["group"]: value for value in chart["data"]["values"]}
    (scores,) = (run.folder / "evidence" / "scores").rglob("*.parquet")
    value_of = {row["image_id"].hex(): row["value"] for row in pq.read_table(scores).to_pylist()}
    faces = run.images()
    faces = faces[faces["counted"].eq(True)]
    assert faces["image_id"].is_unique
    for group, drawn in shown.items():
        attribute, label = group.split(": ")
        own = (faces[attribute] == label).to_numpy()
        prompts = (
            faces["prompt"].astype(object).to_numpy()[:, None] == faces["prompt"].astype(object).unique()
        ).astype(float)
        values = np.array([value_of[image] for image in faces["image_id"]])
        slope = np.linalg.lstsq(np.column_stack([own, prompts]), values, rcond=None)[0][0]
        assert drawn["difference"] == pytest.approx(slope)
        assert drawn["low"] is None or drawn["low"] < drawn["difference"] < drawn["high"]
    assert set(shown) == {"gender: female", *(f"race4: {label}" for label in ("WMELH", "Black", "Indian", "Asian"))}
    assert shown["gender: female"]["low"] is not None
    alt = re.search(r'charts/quality-brightness\.svg" alt="([^"]+)"', page.read_text())
    assert alt and all(number(v["difference"], sign=True) in alt[1] for v in shown.values())
    assert "A scorer can itself prefer faces that look prototypical" in page.read_text()


def a_contrast(label: str, estimate: float, p: float) -> GroupQuality:
    known = p == p
    contrast = Contrast(estimate, 0.5 if known else p, 30.0 if known else p, p, 4, 20, 30)
    return GroupQuality("sharpness", "gender", label, contrast, p)


def test_what_is_shown_is_said_in_words() -> None:
    nan = float("nan")
    chart = charts.by_group([a_contrast("a", 2.0, 0.004), a_contrast("b", -0.2, 0.6), a_contrast("c", 1.0, nan)])
    assert chart is not None
    assert "Shown to differ, by 2 tests (Holm): gender: a (p .004). Those without a line" in chart.caption
    assert "gender: a +2.000 [+.979, +3.021] (20 images and 30 others in 4 prompts)" in chart.alt
    assert "gender: c +1.000 (20" in chart.alt
    none = charts.by_group([a_contrast("c", 1.0, nan)])
    assert none is not None and "There are too few images for an interval." in none.caption
    assert charts.by_group([a_contrast("c", nan, nan)]) is None
    hostile = charts.by_group([replace(a_contrast("a", 2.0, 0.004), scorer="../../x")])
    assert hostile is not None and hostile.name == "quality-------x"  # it names a file
