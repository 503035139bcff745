"""Following and customary readings of runs: against images counted anew, and as they are printed and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fairbench
from fairbench.display.dictionary import TABLES
from fairbench.reporting.charts import following as charts
from fairbench.runs import following, terminal_following
from fairbench.runs.terminal_tables import Measured
from tests.builders.cli import Cli, make_run

NOISY = ("--model", "phantom-exact", "--labeller", "phantom-noisy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("following")


def part_of(task: str, folder: Path, rows: Sequence[int]) -> Path:
    """Write some prompts of a shipped task to a file, and return it."""
    table = pd.read_csv(Path("tasks") / task / "prompts.csv", dtype=str, keep_default_na=False)
    table.iloc[list(rows)].drop(columns="rationale", errors="ignore").to_csv(folder / f"{task}.csv", index=False)
    return folder / f"{task}.csv"


@pytest.fixture(scope="module")
def stereotype(folder: Path) -> Path:
    return make_run(
        folder / "stereotype", *NOISY, "--task", part_of("counter-stereotype", folder, range(12)), "-n", "4"
    )


@pytest.fixture(scope="module")
def context(folder: Path) -> Path:
    task = part_of("fixed-by-context", folder, [*range(4), *range(53, 59)])
    return make_run(folder / "context", *NOISY, "--task", task, "-n", "4")


def test_following_of_a_run_is_what_its_images_say(stereotype: Path) -> None:
    run = fairbench.load(stereotype)
    table = run.following().set_index(["attribute", "group"])
    images = run.images().merge(run.prompts[["prompt", "category"]], on="prompt")
    images["stated"] = images["prompt"].str.extract(r"of a (female|male) ")[0]
    faces = images[images["counted"].eq(True)].assign(shown=lambda t: t["gender"] == t["stated"])
    for column, groups in (("stated", ("female", "male")), ("category", ("along", "against"))):
        for group in groups:
            own = faces[faces[column] == group]
            row = table.loc[("gender" if column == "stated" else "faces", group)]
            assert row["value"] == pytest.approx(own.groupby("prompt")["shown"].mean().mean())
            assert (row["n_faces"], row["n_prompts"]) == (len(own), 6)
            assert row["ci_low"] < row["value"] < row["ci_high"]
    gap = table.loc[("faces", "gap")]
    along, against = (table.loc[("faces", group), "value"] for group in ("along", "against"))
    assert gap["value"] == pytest.approx(along - against)
    assert gap["ci_low"] < gap["value"] < gap["ci_high"]
    # The renderer always follows, and the labeller misreads a tenth: as read it is the recall that one sees.
    female = table.loc[("gender", "female")]
    assert 0.85 < female["recall_ci_low"] < female["recall"] < female["recall_ci_high"] < 0.89
    assert female["adjusted_lowest"] == pytest.approx(female["value"])  # a calibration of other images leaves a range
    assert female["adjusted_ci_low"] < 1 <= female["adjusted_ci_high"]
    assert female["refused"] == 0 < female["refused_ci_high"]
    without = images[(images["stated"] == "female") & (images["status"] == "no_face")]
    assert female["no_face"] == pytest.approx(len(without) / 24)


def test_a_run_prints_following_and_its_gap_within_eighty_columns(
    stereotype: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for full in ((), ("--full",)):
        out = cli("show", stereotype, *full).succeeded().out
        assert max(len(line) for line in out.splitlines() if str(stereotype) not in line) <= 80
        said = " ".join(out.split())
        assert "following, by what prompts state" in said
        assert "following along the stereotype minus against it:" in said
        assert "unevenness of gender within a prompt is no finding here" in said
        assert ("refused and faceless, by what prompts state" in said) == bool(full)


def test_customary_readings_are_described_and_never_called_followed(context: Path, cli: Cli) -> None:
    run = fairbench.load(context)
    table = run.customary_readings().set_index(["attribute", "group"])
    images = run.images()
    faces = images[images["counted"].eq(True) & images["prompt"].str.contains("nun|queen|monk|king")]
    women = faces["prompt"].str.contains("nun|queen")
    shown = (faces["gender"] == np.where(women, "female", "male")).groupby(faces["prompt"]).mean().mean()
    raw = run.metrics[run.metrics["metric"] == "attribute-following"]
    assert raw.empty
    assert run.following().empty
    assert list(run.following()) == list(TABLES["run.following()"][1]) == list(run.customary_readings())
    assert table.loc[("faces", "by definition"), "value"] == pytest.approx(shown)
    prompts = run.prompts
    custom = prompts[prompts["category"] == "by custom"]
    row = table.loc[("faces", "by custom")]
    assert row["n_prompts"] <= len(custom)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    out = " ".join(cli("show", context).succeeded().out.split())
    assert "share showing the customary reading" in out
    assert "never of being correct" in out
    assert "Followed" not in out
    definition = cli("show", "metric", "customary-reading[by custom]").succeeded().out
    assert "never a measure of being correct" in " ".join(definition.split())


@pytest.mark.long
def test_two_runs_compare_customary_readings_without_a_better_direction(context: Path, folder: Path) -> None:
    other = make_run(folder / "other", *NOISY, "--task", folder / "fixed-by-context.csv", "-n", "4", "--seed", "1")
    table = fairbench.compare(context, other).table
    rows = table[table["estimand"].str.startswith("customary-reading[") & (table["scope"] == "this list")]
    assert set(rows["estimand"]) == {"customary-reading[by definition]", "customary-reading[by custom]"}
    assert rows["claim"].isna().all() or (rows["claim"] == "").all()
    values = [fairbench.load(run).customary_readings().iloc[0]["value"] for run in (context, other)]
    first = rows[rows["estimand"] == "customary-reading[by definition]"].iloc[0]
    assert first["effect"] == pytest.approx(values[1] - values[0], abs=0.05)


def test_the_charts_say_what_the_tables_say(stereotype: Path, context: Path) -> None:
    measured = Measured(fairbench.load(stereotype))
    groups, gap = following.groups(measured), following.stereotype(measured)
    words = " ".join(terminal_following.differing(measured))
    by_group, cost = charts.charts(groups, gap, following.customary(measured), words)
    assert by_group.spec["data"]["values"][0]["read"] == groups[0].read["value"]
    assert "none is shown to be" in by_group.caption
    unread = replace(groups[0], attribute="age3", read={**groups[0].read, "value": None})
    (without,) = charts.charts([unread, *groups], None, [], words)
    assert without.spec["data"] == by_group.spec["data"] and "Without a value: age3." in without.caption
    assert gap is not None
    assert cost.spec["data"]["values"][0]["gap"] == gap.read["value"]
    described = Measured(fairbench.load(context))
    (readings,) = charts.charts([], None, following.customary(described), "")
    assert "never of being correct" in readings.caption
    assert readings.spec["data"]["values"][0]["even"] == pytest.approx(0.5, abs=0.02)
