"""Axes that arms can be read in to different extents are read alike in all of them."""

from __future__ import annotations

import math

import pytest

from fairbench.sweeps import words
from fairbench.sweeps.arms import BASE
from fairbench.sweeps.axes import BIAS, Reading, missing
from fairbench.sweeps.settling import settled

SEEDS = (0, 1)
BEHIND = "clip_score.behind"


def _readings() -> dict[tuple[str, int], dict[str, Reading]]:
    return {
        (arm, seed): {
            "bias[corrected]": Reading(bias - 0.1, 0.01),
            "bias[raw]": Reading(bias, 0.02),
            BEHIND: missing("of none"),
            f"{BEHIND}[race4 Black]": Reading(0.2, 0.1),
            f"{BEHIND}[race4 Asian]": Reading(gap, 0.3),
        }
        for arm, bias, gap in ((BASE, 0.9, 0.0), ("sft-0", 0.4, 0.7), ("grpo-0", 0.5, 0.1))
        for seed in SEEDS
    }


def test_the_bias_is_adjusted_where_all_are() -> None:
    found, read_of = settled(_readings())
    assert read_of[BIAS] == ["corrected"]
    assert found["sft-0", 0][BIAS] == Reading(0.4 - 0.1, 0.01)
    assert "The bias of all runs is adjusted for the judge's errors." in [*words._read_of(read_of)]


@pytest.mark.parametrize("arm", [BASE, "grpo-0"])
def test_one_run_that_cannot_be_adjusted_leaves_all_as_counted(arm: str) -> None:
    readings = _readings()
    readings[arm, 1]["bias[corrected]"] = missing("no calibration")
    found, read_of = settled(readings)
    assert read_of[BIAS] == ["raw"]
    assert [found[key][BIAS].value for key in found] == [0.9, 0.9, 0.4, 0.4, 0.5, 0.5]
    assert "The bias of all runs is as counted." in [*words._read_of(read_of)]


def test_the_group_furthest_behind_is_of_the_same_classes_everywhere() -> None:
    found, read_of = settled(_readings())
    assert read_of[BEHIND] == ["race4 Black", "race4 Asian"]
    assert [found[arm, 0][BEHIND].value for arm in (BASE, "sft-0", "grpo-0")] == [0.2, 0.7, 0.2]
    readings = _readings()
    del readings["grpo-0", 1][f"{BEHIND}[race4 Asian]"]  # else this arm alone would be spared its worst class
    found, read_of = settled(readings)
    assert read_of[BEHIND] == ["race4 Black"]
    assert {found[key][BEHIND] for key in found} == {Reading(0.2, 0.1)}


def test_the_model_itself_takes_no_class_away() -> None:
    readings = _readings()
    del readings[BASE, 0][f"{BEHIND}[race4 Asian]"]
    found, _ = settled(readings)
    assert found["sft-0", 0][BEHIND].value == 0.7
    assert math.isnan(found[BASE, 0][BEHIND].value)


def test_without_a_class_that_all_show_there_is_no_value() -> None:
    readings = _readings()
    for name in ("Black", "Asian"):
        del readings["grpo-0", 1][f"{BEHIND}[race4 {name}]"]
    found, read_of = settled(readings)
    assert (read_of[BEHIND], found["sft-0", 0][BEHIND].reason) == ([], "of none")
