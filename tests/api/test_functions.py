"""The functions of `import fairbench` do what the commands do."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import fairbench
from fairbench.cli.calibrate import calibrate as calibrate_command
from fairbench.cli.run import run as run_command
from fairbench.errors import FairbenchError
from tests.builders.cli import Cli

OPTIONS = {"task": "occupations-mini", "limit_prompts": 2, "images_per_prompt": 6, "sheets": False}
ARGUMENTS = ("--task", "occupations-mini", "--limit-prompts", 2, "-n", 6, "--no-sheets", "-q")


def test_a_run_is_that_of_the_command(cli: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where another process makes a half of it first; paths are text."""
    store = str(tmp_path / "store")
    shard = fairbench.run("phantom-exact", store=store, out="mine", shard="0/2", progress=False, **OPTIONS)
    assert "finished run" in repr(shard)
    run = fairbench.run("phantom-exact", store=store, out="mine", progress=False, **OPTIONS)
    assert run.folder == Path("mine")
    assert shard.id == run.id
    assert "few-images" in caplog.text
    assert cli("run", "--model", "phantom-exact", *ARGUMENTS, "--store", store, "--out", "theirs").code == 0
    for name in ("metrics.csv", "prompts.csv", "notices.csv"):
        assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    assert run.picture(run.images()["image_id"][0]).size == (64, 64)
    with pytest.raises(FairbenchError, match="lies inside the store"):
        fairbench.run("phantom-exact", store=store, out=store, progress=False, **OPTIONS)


def test_every_option_of_a_command_is_an_argument() -> None:
    # calibrate --from is a function of its own.
    only_of_the_command = {"ctx", "as_json", "quiet", "verbose", "full", "dry_run", "from_"}
    for command, function, arguments in (
        (run_command, fairbench.run, {"progress", "name", "version"}),
        (calibrate_command, fairbench.calibrate, {"progress"}),
    ):
        options = set(inspect.signature(command).parameters) - only_of_the_command
        assert options == set(inspect.signature(function).parameters) - arguments


def test_an_interval_is_that_of_the_run(tmp_path: Path) -> None:
    run = fairbench.run(
        "phantom-exact", store=tmp_path / "s", out=tmp_path / "r", progress=False, scorers=(), **OPTIONS
    )
    shares = run.shares("race4")
    counts = np.rint((shares["share"] * shares["n"]).to_numpy()).reshape(2, 4)
    rows = run.metrics[(run.metrics["attribute"] == "race4") & (run.metrics["estimate"] == "raw")]
    rows = rows.set_index(["metric", "scope"])
    for scope, design in (("task", "this list"), ("population", "other prompts")):
        row = rows.loc[("concentration", scope)]
        interval = fairbench.interval(counts, "concentration", scope=design)  # type: ignore[arg-type]
        assert interval[:3] == pytest.approx((row["value"], row["ci_low"], row["ci_high"]), nan_ok=True)
        assert interval.prompts == row["n_prompts"]
        assert interval.method == (row["ci_method"] if scope == "task" else None)  # two prompts say nothing of others
    for metric in ("rd", "entropy", "tv-uniform"):  # redrawn with other random numbers
        row = rows.loc[(metric, "task")]
        interval = fairbench.interval(counts, metric)
        assert interval.value == pytest.approx(row["value"])
        assert interval[1:3] == pytest.approx((row["ci_low"], row["ci_high"]), abs=0.03)


def test_an_interval_of_nothing_sensible_is_refused() -> None:
    with pytest.raises(ValueError, match="whole, 0 or more; shares do not say how many"):
        fairbench.interval([[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"not \(1, 1\)"):
        fairbench.interval([5])
    with pytest.raises(ValueError, match="'this list', 'other prompts'"):
        fairbench.interval([[3, 4]], scope="all")  # type: ignore[arg-type]
    with pytest.raises(FairbenchError, match="did you mean 'concentration'"):
        fairbench.interval([[3, 4]], "concentratio")
    for metric in ("no-face-rate", "distance-to-reference"):
        with pytest.raises(FairbenchError, match="no function of class shares alone"):
            fairbench.interval([[3, 4]], metric)
    with pytest.raises(FairbenchError, match="other prompts"):
        fairbench.interval([[3, 4], [5, 5]], "entropy", scope="other prompts")
    alike = fairbench.interval([[9, 0], [9, 0]], "entropy")
    assert np.isnan(alike.low)
    assert alike.reason == "nothing varies: no interval"
    assert np.isnan(fairbench.interval([[0, 0], [0, 0]]).value)
    for metric in ("concentration", "rd", "entropy"):  # a prompt that is left out is never silent
        nothing, one = fairbench.interval([[0, 0]], metric), fairbench.interval([[3, 4], [0, 0]], metric)
        assert np.isnan(nothing.value)
        assert (nothing.method, nothing.prompts, nothing.reason) == (None, 0, "no prompt has enough faces")
        assert (one.prompts, one.reason) == (1, "over 1 of 2 prompts (1 have too few faces)")
