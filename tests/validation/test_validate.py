"""The validation itself: its truths, its bars, what it stores, and that a wrong estimate does not pass."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

from fairbench.cli.app import app
from fairbench.display.progress import SILENT
from fairbench.metrics._rd import relative_diversity
from fairbench.stats import intervals
from fairbench.validation import compared, corrected, document, images, raw, runner, stress, worlds
from fairbench.validation.cells import Cell, Measure, Result, average, rmse, share
from tests.builders.progress import Recorder

TINY = [
    Cell("concentration", {"K": 2, "n": 50, "truth": "mild"}, 40),
    Cell("concentration", {"K": 2, "n": 50, "truth": "one-sided"}, 5),
    Cell("corrected rd", {"RD": 0.4, "accuracy": 0.85, "n": 160, "calibration": 500}, 40),
]


def measures(study, settings, times):
    return {m.name: m for m in study.run(Cell(study.name, settings, times))}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Expected values and checks from fewer draws."""
    monkeypatch.setattr(worlds, "_DRAWS", 40_000)
    monkeypatch.setattr(corrected, "_CHECKED_REPLICATES", 5)
    monkeypatch.setattr(stress, "_TESTED", 6)


def rng(seed=0):
    return np.random.default_rng(seed)


# --- worlds ---


@pytest.mark.parametrize(("classes", "rd"), [(2, 0.75), (4, 0.40), (7, 0.24), (8, 0.20)])
def test_the_mixes_have_the_rd_of_published_models(classes, rd):
    shares = worlds.draw("mix", classes, (20_000,), rng())
    assert relative_diversity(shares).mean() == pytest.approx(rd, abs=0.006)
    assert worlds.population_concentration("mix", classes) == pytest.approx(
        worlds.concentration_of_shares(shares).mean(), abs=0.01
    )


def test_truths_are_what_they_are_called():
    fair, mild, alone = (worlds.draw(t, 4, (9,), rng()) for t in ("fair", "mild", "one-sided"))
    assert relative_diversity(fair) == pytest.approx(0)
    assert relative_diversity(mild) == pytest.approx(0.3 * 0.5)
    assert relative_diversity(alone) == pytest.approx(0.5)
    assert len(np.unique(alone.argmax(axis=1))) > 1
    assert worlds.population_concentration("mild", 4) == pytest.approx(0.09)


def test_the_expected_rd_of_two_classes_is_that_of_the_binomial():
    from scipy.stats import binom

    x = np.arange(41)
    exact = binom.pmf(x, 40, 0.7) @ np.abs(2 * x / 40 - 1)
    assert worlds.expected_rd(np.array([[0.7, 0.3]] * 3), 40, rng()) == pytest.approx(exact, abs=0.001)


def test_readings_follow_the_table_of_their_prompt():
    tables = np.stack([worlds.table(2, 1.0), worlds.table(2, 0.75)])
    counts = worlds.read(np.array([[1.0, 0.0]] * 2), tables, 10_000, rng())
    assert counts[0].tolist() == [10_000, 0, 0]
    assert counts[1] == pytest.approx([7500, 2500, 0], abs=150)


# --- measures and bars ---


def test_figures_have_their_monte_carlo_errors():
    assert average("x", [1.0, 2.0, 3.0]).error == pytest.approx(1 / math.sqrt(3))
    assert share("x", [True] * 98).error == pytest.approx(math.sqrt(0.99 * 0.01 / 98))
    off = rng().normal(0.3, 1, (400, 50))
    errors = [rmse("x", o) for o in off]
    assert np.mean([e.error for e in errors]) == pytest.approx(np.std([e.value for e in errors]), rel=0.1)


@pytest.mark.parametrize(("hits", "of"), [(80, 80), (0, 200), (57, 60), (941, 1000)])
def test_a_share_is_granted_its_exact_interval(hits, of):
    """A bar a little inside either limit of the oracle's interval holds, one a little outside does not."""
    low, high = proportion_confint(hits, of, 2 * norm.sf(2), method="beta")
    found = np.arange(of) < hits
    assert share("x", found, least=high - 1e-9, most=low + 1e-9).holds
    assert not share("x", found, least=high + 1e-9).holds
    assert not share("x", found, most=low - 1e-9).holds


def test_intervals_that_all_cover_are_too_wide_only_where_that_is_no_accident():
    """At a true coverage of .97, 80 of 80 intervals cover in 9 of 100 simulations, 300 of 300 in one of 10,000."""
    assert share("cover", [True] * 80, 0.93, 0.97).holds
    assert not share("cover", [True] * 300, 0.93, 0.97).holds


def test_a_bar_grants_two_errors_and_no_more():
    assert Measure("x", 0.92, 0.005, least=0.93).holds
    assert not Measure("x", 0.92, 0.004, least=0.93).holds
    assert not Measure("x", 0.99, 0.005, 0.93, 0.97).holds
    assert not Measure("x", math.nan, 0.0, least=0.93).holds
    assert Measure("x", 99.0, 0.0).holds


@pytest.mark.parametrize(
    ("truth", "n", "bar"), [("mix", 50, (0.93, 0.97)), ("mix", 20, (None, None)), ("fair", 10, (0.93, None))]
)
def test_coverage_is_barred_as_the_document_says(truth, n, bar):
    assert raw.bars({"truth": truth, "n": n}) == bar


# --- studies ---


def test_intervals_of_a_good_estimate_pass_and_those_of_a_wrong_one_do_not(monkeypatch):
    settings = {"K": 4, "n": 50, "truth": "mild"}
    good = measures(raw.CONCENTRATION, settings, 150)
    assert good["bias"].value == pytest.approx(0, abs=4 * good["bias"].error)
    assert good["cover list"].holds
    assert good["cover other"].holds

    def too_short(counts, scope):
        values, lowest = intervals.concentration_of_prompts(counts), intervals.lowest_concentration(counts)
        return intervals.interval_of(values, scope, 0.8, lowest, 1.0)

    monkeypatch.setattr(raw, "concentration_interval", too_short)
    assert not measures(raw.CONCENTRATION, settings, 150)["cover list"].holds


@pytest.mark.parametrize(("study", "where"), [("concentration", raw), ("corrected concentration", corrected)])
def test_intervals_half_as_wide_fail_every_quick_cell_of_an_interior_truth(monkeypatch, study, where):
    module = where if where is raw else corrected.correction_interval
    real = module.concentration_interval

    def half(*args, **options):
        found = real(*args, **options)
        low, high = ((found.estimate + limit) / 2 for limit in (found.low, found.high))
        return dataclasses.replace(found, low=low, high=high)

    monkeypatch.setattr(module, "concentration_interval", half)
    cells = [c for c in runner.cells_of(quick=True) if c.study == study and c.settings["n"] == 160]
    cells = [c for c in cells if c.settings["truth"] == "mix" and c.settings["K"] in (2, 4, 8)]
    assert len(cells) >= 2
    for cell in cells:
        found = {m.name: m for m in where.CONCENTRATION.run(cell)}
        assert not found["cover list"].holds
        assert not found["cover other"].holds


def test_rd_has_a_floor_and_rd_at_n0_is_unbiased(monkeypatch):
    monkeypatch.setattr(raw, "_RESAMPLES", 40)
    found = measures(raw.RD, {"K": 2, "n": 20, "n0": 16, "truth": "fair"}, 40)
    assert found["bias rd"].value == pytest.approx(0.176, abs=0.03)
    assert abs(found["bias"].value) < 4 * found["bias"].error
    assert found["cover list"].value > 0.8


def test_correction_undoes_the_bias_of_raw_values():
    settings = {"K": 4, "accuracy": 0.85, "truth": "mix", "n": 160, "calibration": 500}
    found = measures(corrected.CONCENTRATION, settings, 30)
    assert found["bias raw"].value < -0.1
    assert found["bias"].holds
    assert found["refused"].holds
    two = measures(corrected.RD, {"RD": 0.6, "accuracy": 0.85, "n": 160, "calibration": 500}, 100)
    assert two["bias raw"].value == pytest.approx(-0.18, abs=0.01)
    assert two["bias"].holds
    assert abs(two["bias linear"].value) < 0.02


@pytest.mark.parametrize("faces", ["equal", "unequal", "random", "few"])
def test_two_equal_models_are_told_apart_at_the_nominal_rate(faces):
    false = measures(compared.FALSE, {"K": 2, "P": 3, "truth": "mix", "faces": faces}, 100)
    assert false["concentration"].value < 0.12


def test_balanced_models_are_called_equivalent_and_others_are_not():
    equal = measures(compared.EQUIVALENT, {"K": 4, "margin": 0.1, "models": "both balanced", "faces": "equal"}, 20)
    assert equal["equally concentrated"].value > 0.9 and equal["same groups"].holds
    apart = {"K": 2, "margin": 0.05, "models": "a margin apart", "faces": "equal"}
    assert all(m.value < 0.15 for m in measures(compared.EQUIVALENT, apart, 100).values())
    assert (
        measures(compared.POWER_STUDY, {"truth": "mix", "K": 2, "P": 50, "n": 160, "change": 0.05}, 50)[
            "concentration found"
        ].value
        > 0.9
    )


def test_stresses_are_flagged_where_the_data_show_them():
    def of(name, k=2, truth="mix"):
        return measures(stress.STRESS, {"stress": name, "K": k, "truth": truth}, 15)

    assert of(stress.CONTROL)["flagged"].value < 0.1
    assert of(stress.HARDER)["flagged"].value == 1
    shifted = of(stress.EASIER)
    assert shifted["bias"].value < -0.1
    assert of(stress.PRODUCT_TABLE, 8)["bias"].value > 0.02 > abs(of(stress.JOINT_TABLE, 8)["bias"].value)
    ignored, known = of(stress.MISSES_IGNORED, 2, "fair"), of(stress.MISSES_IN_TABLE, 2, "fair")
    assert ignored["bias"].value > 4 * abs(known["bias"].value)


def test_images_are_drawn_and_read_and_their_truth_is_found():
    found = measures(images.IMAGES, {"labeller": "phantom", "attribute": "gender", "n": 5, "calibration": 2}, 2)
    assert set(found) >= {"bias raw", "bias", "cover raw concentration", "cover concentration"}
    assert abs(found["bias raw"].value) < 0.4


# --- running, storing, showing ---


def test_what_is_finished_is_not_simulated_again_and_a_torn_line_is(tmp_path, monkeypatch):
    new = Recorder()
    first = runner.run(TINY, tmp_path, 1, new)
    assert new.events == [("simulate", done, 3) for done in range(4)]
    with (tmp_path / runner.CELLS).open("ab") as file:
        file.truncate(file.tell() - 30)
    again = Recorder()
    assert runner.run(TINY, tmp_path, 1, again)[:2] == first[:2]
    assert again.events == [("simulate", 0, 1), ("simulate", 1, 1)]
    earlier = runner.CELLS + ".earlier"  # a record without a field that this version stores
    (tmp_path / runner.CELLS).rename(tmp_path / earlier)
    lines = (tmp_path / earlier).read_text().replace('"of": 40, ', "")
    (tmp_path / runner.CELLS).write_text(lines)
    runner.run(TINY, tmp_path, 1, again)
    assert again.events[2:] == [("simulate", 0, 1), ("simulate", 1, 1)]
    monkeypatch.setattr(runner, "simulate", lambda cell: pytest.fail("simulated again"))
    assert [r.measures for r in runner.run(TINY, tmp_path, 1, SILENT)] == [r.measures for r in first]


def test_processes_and_order_change_no_figure(tmp_path):
    one = runner.run(TINY, tmp_path / "1", 1, SILENT)
    two = runner.run(TINY[::-1], tmp_path / "2", 2, SILENT)[::-1]
    assert [r.measures for r in one] == [r.measures for r in two]


def test_the_document_names_every_shortfall(tmp_path):
    cell = TINY[0]
    bad = Result(cell, [Measure("cover list", 0.8, 0.004, 0.93, 0.97), Measure("bias", -0.00123, 0.0004)], 1.0)
    document.write([bad], "fairbench validate", tmp_path)
    text = (tmp_path / "validation.md").read_text()
    assert "- concentration (K 2, n 50, truth mild): cover list 0.800(4), must be 0.93 to 0.97" in text
    assert "| 2 | 50 | mild | 0.800(4) **NO** | -0.0012(4) |" in text
    assert "0 of 1 bars are met." in text
    stored = json.loads((tmp_path / "validation.json").read_text())
    assert stored["shortfalls"] == [document.sentence(*document.shortfalls([bad])[0])]
    assert Result.of_record(stored["results"][0]) == bad


@pytest.mark.parametrize(("least", "code"), [(0.1, 0), (2.0, 1)])
def test_the_command_ends_with_1_where_a_bar_is_not_met(tmp_path, monkeypatch, least, code):
    monkeypatch.setattr(runner, "cells_of", lambda quick: TINY[:1])
    monkeypatch.setattr(runner, "simulate", lambda cell: Result(cell, [Measure("cover list", 0.95, 0.0, least)], 1.0))
    command = ["validate", "--quick", "--jobs", "1", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == code
    assert ("not met: concentration (K 2" in shown.output) == bool(code)
    machine = CliRunner().invoke(app, [*command, "--json", "--quiet"])
    assert json.loads(machine.stdout)["bars"] == 1


def test_every_full_cell_of_a_barred_interval_has_a_thousand_replicates():
    cells = runner.cells_of(quick=False)
    assert len({cell.key for cell in cells}) == len(cells)
    unbarred = ("images", "stress")  # of coverage
    simulated = ("one prompt", "rd", "transfer")  # a simulation is inside of each replicate
    assert min(c.replicates for c in cells if c.study not in unbarred + simulated) >= 1000
    assert min(c.replicates for c in cells if c.study in simulated) >= 400


def test_every_power_cell_has_a_list_that_can_change_by_as_much() -> None:
    """Where few prompts are one-sided a list may have none: such a one is drawn again."""
    for cell in compared.POWER_STUDY.cells(quick=False):
        if cell.settings["truth"] == "rare":
            found, planned = compared.run_power(dataclasses.replace(cell, replicates=1))
            assert 0 < planned.value < 1 and found.value in (0, 1)
