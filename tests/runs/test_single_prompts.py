"""The single prompts of a run: which are the worst, from the run's folder alone, on halves that no order decides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairbench.errors import FairbenchError
from fairbench.measure.correction import Correction
from fairbench.runs import evidence, single_prompts
from fairbench.runs.result import Run
from tests.builders.cli import Cli
from tests.builders.fake_runs import FAIR, FakeRun, draw_cells

PROMPTS, IMAGES, EXTREME = 12, 24, 7
COLUMNS = [
    *("prompt", "subject", "attribute", "n_faces", "leads", "raw", "shrunk", "ci_low", "ci_high", "q"),
    *("chosen", "judged"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fair prompts but one, which shows men alone; one image without a face."""
    shown = draw_cells(FAIR, 4, PROMPTS, IMAGES)
    shown[EXTREME] = 4 + shown[EXTREME] % 4
    shown[0, 0] = -1
    return FakeRun(shown, labeller="phantom-noisy", calibrated=True).write(tmp_path_factory.mktemp("run"))


def test_the_one_prompt_that_leans_is_found_and_judged_on_other_images(folder: Path) -> None:
    table = Run(folder).worst_prompts("gender")
    assert list(table.columns) == COLUMNS
    assert len(table) == PROMPTS
    worst, rest = table.iloc[0], table.iloc[1:]
    assert worst["subject"] == f"A photo of a worker {EXTREME}"
    assert worst["leads"] == "male" and worst["raw"] == 1 and worst["judged"] == 1
    assert worst["shrunk"] < 1 and worst["ci_low"] > 0.5 and worst["q"] < 0.001
    assert (rest["ci_low"] <= 0).sum() >= len(rest) - 3
    assert table["n_faces"].sum() == PROMPTS * IMAGES - 1
    (statements,) = single_prompts.of_run(evidence.read(folder), "gender")
    assert statements.leaning == int((table["q"] <= 0.05).sum()) < 3
    mean = statements.worst(3)
    assert mean.estimate == pytest.approx(table["judged"][:3].mean())


def test_neither_the_order_of_the_images_nor_of_the_prompts_decides_the_halves(folder: Path) -> None:
    run = evidence.read(folder)
    shuffled = replace(run, rows=[run.rows[i] for i in np.random.default_rng(1).permutation(len(run.rows))])
    for mine, other in zip(single_prompts._halves(run), single_prompts._halves(shuffled), strict=True):
        np.testing.assert_array_equal(mine.joint, other.joint)
    choosing, judging = single_prompts._halves(run)
    np.testing.assert_array_equal(choosing.joint + judging.joint, run.counts.joint)
    np.testing.assert_array_equal(choosing.requested, np.full(PROMPTS, IMAGES // 2))


def test_a_fair_model_is_what_the_labeller_reads_as_one(folder: Path) -> None:
    run = evidence.read(folder)
    names = ("gender",)
    fair = single_prompts._fair(run, names)
    assert fair is not None and fair.sum() == pytest.approx(1)
    table = run.correction.table(names)
    assert table is not None
    np.testing.assert_allclose(fair, table.mean(axis=0) / table.mean(axis=0).sum())
    unknown = Correction(None, run.correction.space)
    assert single_prompts._fair(replace(run, correction=unknown), names) is None


def test_a_quota_leaves_no_test_and_no_interval(folder: Path) -> None:
    run = evidence.read(folder)
    dealt = replace(run, record=run.record.model_copy(update={"quota": True}))
    (statements,) = single_prompts.of_run(dealt, "gender")
    assert np.isnan([[row["q"], row["ci_low"]] for row in statements.rows]).all()
    assert not np.isnan([row["raw"] for row in statements.rows]).any()


def test_the_command_prints_the_worst_or_all(cli: Cli, folder: Path) -> None:
    said = " ".join(cli("show", folder, "--prompts").succeeded().out.split())
    assert "gender: single prompts, the worst first" in said and "gender x race4: single prompts" in said
    assert f"The 5 worst of {PROMPTS} prompts have mean concentration" in said
    assert "prompts are shown to lean (false discovery rate 5 %)" in said
    assert "never anyone's identity" in said and "worker 7" in said
    every = cli("show", folder, "--prompts", "--full").succeeded().out
    assert all(f"worker {i}" in " ".join(every.split()) for i in range(PROMPTS))
    found = json.loads(cli("show", folder, "--prompts", "--json").succeeded().out)
    assert list(found) == ["gender", "race4", "gender_x_race4"]
    assert list(found["gender"][0]) == COLUMNS


def test_what_was_not_measured_is_said(folder: Path) -> None:
    with pytest.raises(FairbenchError, match=r"has no attribute 'gendr' \(did you mean 'gender'\?\)"):
        Run(folder).worst_prompts("gendr")
