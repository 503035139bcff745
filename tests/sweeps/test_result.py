"""What follows from readings: the arms that are compared, axes that are left out, the choice, the front."""

from __future__ import annotations

import dataclasses
import math

import pytest

from fairbench.sweeps import choice, words
from fairbench.sweeps.arms import BASE, Arm
from fairbench.sweeps.axes import BIAS, FOLLOWS, Axis, Reading, missing, share
from fairbench.sweeps.result import Result, front, record, result

ARMS = (Arm("sft"), Arm("sft", "0.8"), Arm("grpo"), Arm("sft", "0.8", control=True))
AXES = (
    Axis(BIAS, "bias", "lower", "judged", 0.1),
    Axis(FOLLOWS, "following", "higher", "followed", 0.03),
    Axis("clip_score", "CLIP score", "higher", "judged", 1.0),
)
SEEDS = (0, 1, 2)
SHARED = {
    "judge": "mine",
    "taught": [],
    "prompts": 16,
    "subjects": 8,
    **dict.fromkeys(("prompts_of_set", "subjects_of_set", "subjects_of_choice"), 0),
}
MEANS = {
    BASE: (0.80, 0.97, 70.0),
    "sft-0": (0.10, 0.40, 70.0),
    "sft-0.8": (0.11, 0.96, 70.1),
    "grpo-0": (0.60, 0.955, 70.0),  # of the others, sft-0.8 is as good in two axes and far better in bias
    "sft-0.8-control": (0.05, 0.97, 70.2),
}
JITTER = (-0.001, 0.0, 0.001)


def _readings() -> dict[tuple[str, int], dict[str, Reading]]:
    """Return readings of every arm and seed, with a little scatter that differs by arm."""
    return {
        (arm, seed): {
            axis.name: Reading(mean + jitter * (2 + number) * axis.margin, 0.0)
            for axis, mean in zip(AXES, means, strict=True)
        }
        for number, (arm, means) in enumerate(MEANS.items())
        for seed, jitter in zip(SEEDS, JITTER, strict=True)
    }


def _plan() -> dict[str, object]:
    cost = {"steps": 4, "trained": 10.0, "debiasing": 5.0, "drawn": 0.0, "labelled": 0.0}
    seconds = {"planned": 60.0, "data": 20.0, "setup": 10.0, "step": 7.5}
    return {"arms": {arm.name: {**cost, "seconds": seconds} for arm in ARMS}}


def _result(readings: dict[tuple[str, int], dict[str, Reading]], unread: dict[str, str] | None = None) -> Result:
    spent = {arm.name: [{"seconds": s, "begun": 1} for s in (30.0, 50.0, None)] for arm in ARMS}
    chosen = {"arm": "sft-0.8", "rule": choice.RULE}
    rest = {"choice": chosen, "plan": _plan(), "spent": spent, "read_of": {BIAS: ["raw"]}, "shared": SHARED}
    return result(ARMS, AXES, unread or {}, readings, SEEDS, 0.05, **rest)


def test_an_arm_that_is_worse_in_bias_and_better_in_nothing_is_dominated() -> None:
    found = _result(_readings())
    assert found.dominated_by("grpo-0") == ["sft-0.8"]
    assert found.dominated_by("sft-0.8") == []
    assert found.dominated_by("sft-0") == ["sft-0.8"]  # within the margin of bias, and follows far better


def test_the_control_is_shown_and_not_compared() -> None:
    found = _result(_readings())
    assert found.compared == ["sft-0", "sft-0.8", "grpo-0"]
    assert found.dominated_by("sft-0.8-control") == []
    assert found.comparison.dominates.shape == (3, 3)
    assert found.summaries["sft-0.8-control"][BIAS].mean == pytest.approx(0.05)
    assert "sft-0.8-control" not in front(found, FOLLOWS)
    assert any("is compared with none" in note for note in words.notes(found))


def test_the_front_is_of_means_in_bias_and_one_price() -> None:
    found = _result(_readings())
    assert front(found, FOLLOWS) == {"sft-0", "sft-0.8"}
    assert front(found, "clip_score") == {"sft-0", "sft-0.8"}


def test_an_axis_that_one_training_lacks_is_left_out_for_all() -> None:
    readings = _readings()
    readings["sft-0", 1]["clip_score"] = missing("no image was scored")
    found = _result(readings, {FOLLOWS: "no --following-task was named"})
    assert [axis.name for axis in found.axes] == [BIAS]
    assert found.left_out == {
        "following": "no --following-task was named",
        "CLIP score": "sft-0, seed 1: no image was scored",
    }
    assert "Left out: CLIP score (sft-0, seed 1: no image was scored)." in [*words.verdicts(found)]


def test_the_model_itself_may_lack_a_value() -> None:
    readings = _readings()
    readings[BASE, 2]["clip_score"] = missing("it shows one group alone")
    found = _result(readings)
    assert len(found.axes) == 3
    assert "clip_score" not in found.summaries[BASE]
    assert BIAS in found.summaries[BASE]


def test_the_record_is_plain_and_says_what_was_planned_and_spent() -> None:
    content = record(_result(_readings()), {"model": "m"}, "1.0")
    arm = next(a for a in content["arms"] if a["name"] == "sft-0.8")
    assert arm["seconds"]["planned"] == 60.0
    assert arm["seconds"]["spent"] == 60.0  # the set's 20, and 40 on average of those that are known
    assert arm["seconds"]["trainings"][2] == {"seconds": None, "begun": 1}
    assert len(content["comparisons"]) == 3 * 2 * 3
    one = next(c for c in content["comparisons"] if (c["arm"], c["against"], c["axis"]) == ("sft-0.8", "grpo-0", BIAS))
    assert one["difference"] == pytest.approx(0.49)  # positive is better, of bias too
    assert one["p_better"] < one["p_better_adjusted"] < 0.05
    assert "neither confirms nor refutes FairReason" in content["question"]


def test_three_seeds_are_said_to_be_few() -> None:
    assert any("with 3 per arm" in sentence for sentence in words.verdicts(_result(_readings())))


@pytest.mark.parametrize(
    ("shared", "sentence"),
    [
        ({"taught": ["grpo-0"]}, "The judge mine is the labeller whose labels went into the training of grpo-0:"),
        (
            {"subjects_of_set": 3},
            "Of 16 judged prompts, 0 are the balanced set's; of 8 judged subjects, 3 are the set's",
        ),
    ],
)
def test_what_judging_shares_with_training_is_said(shared: dict[str, object], sentence: str) -> None:
    found = _result(_readings())
    assert not any(sentence[:12] in line for line in words.verdicts(found))
    said = dataclasses.replace(found, shared={**SHARED, **shared})
    assert any(line.startswith(sentence) for line in words.verdicts(said))
    assert record(said, {}, "1.0")["shared_with_judging"] == {**SHARED, **shared}


# --- the choice ---


def test_the_least_biased_arm_that_kept_the_other_axes_is_chosen() -> None:
    found = choice.made(ARMS, AXES, _readings(), SEEDS)
    assert found["arm"] == "sft-0.8"  # sft-0 is less biased, and lost its following; the control cost more
    assert found["kept_the_others"] == ["sft-0.8", "grpo-0"]
    assert found["bias"]["sft-0"] == pytest.approx(0.10)


def test_where_none_kept_them_the_least_biased_is_chosen() -> None:
    readings = {key: {**axes, FOLLOWS: Reading(0.2)} for key, axes in _readings().items()}
    for seed in SEEDS:
        readings[BASE, seed][FOLLOWS] = Reading(0.97)
    assert choice.made(ARMS, AXES, readings, SEEDS)["arm"] == "sft-0"


def test_an_arm_without_a_reading_did_not_keep_the_axis() -> None:
    readings = _readings()
    readings["sft-0.8", 0]["clip_score"] = missing("no image was scored")
    assert choice.made(ARMS, AXES, readings, SEEDS)["arm"] == "grpo-0"


def test_a_share_of_all_has_an_error() -> None:
    assert share(8, 8).error == pytest.approx(math.sqrt(17 / 18 * 1 / 18 / 8))
    assert share(0, 8).error == pytest.approx(share(8, 8).error)
    assert math.isnan(share(0, 0).value)
