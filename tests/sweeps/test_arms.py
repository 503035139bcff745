"""Arms and budgets, as a user writes them."""

from __future__ import annotations

import pytest

from fairbench.errors import FairbenchError
from fairbench.sweeps.arms import Arm, arms, budget


def test_trainers_times_shares_then_further_arms_then_the_control() -> None:
    found = arms("sft, grpo", "0,.80", ["sft:.5:captions+general"], None)
    assert [arm.name for arm in found] == [
        "sft-0",
        "sft-0.8",
        "grpo-0",
        "grpo-0.8",
        "sft-0.5-captions-general",
        "sft-0.8-control",
    ]
    assert [arm.share for arm in found] == [0.0, 0.8, 0.0, 0.8, 0.5, 0.8]
    assert [arm.control for arm in found] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("trainers", "shares", "control", "expected"),
    [
        ("sft,grpo", "0,.8", "grpo:.8", "grpo-0.8-control"),
        ("sft,grpo", "0,.8", "none", None),
        ("sft", "0", None, None),  # nothing is retained, so there is nothing to control
        ("sft", "0,1", None, None),  # nothing debiases there, however long
        ("sft", ".5,.8", None, None),  # nor an arm without, whose tokens it could have
    ],
)
def test_the_control(trainers: str, shares: str, control: str | None, expected: str | None) -> None:
    found = [arm.name for arm in arms(trainers, shares, [], control) if arm.control]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("sfd", "0", [], None), "--train sfd: name sft, bpo, distill, grpo."),
        (("i2t", "0", [], None), "--train i2t: name sft, bpo, distill, grpo."),
        ((",", "0", [], None), "--train is empty: name one or more, with commas between them."),
        (("sft", "1.5", [], None), "--retain 1.5: give a share from 0 to"),
        (("sft", "0", ["sft"], None), "--arm sft: write TRAINER:SHARE, as in sft:.5."),
        (("sft", "0,.5", ["sft:0.50"], None), "The arm sft-0.5 is named twice"),
        (("sft", ".5,.5:stated", [], None), "The arm sft-0.5-stated is named twice"),
        (("sft", ".5:stated+captions", ["sft:.5:captions+stated"], None), "is named twice"),
        (("sft", "0,.5", [], "sft:.8"), "--control sft:.8: name an arm with some capability data"),
        (("sft", "0,1", [], "sft:1"), "--control sft:1: name an arm with some capability data"),
        (("sft", "0,.5", [], "sft:0"), "--control sft:0: name an arm with some capability data"),
    ],
)
def test_what_is_refused(given: tuple[str, str, list[str], str | None], sentence: str) -> None:
    with pytest.raises(FairbenchError) as error:
        arms(*given)
    assert sentence in str(error.value)


def test_budgets() -> None:
    assert (budget("seconds:90").unit, budget("tokens:2e6").amount) == ("seconds", 2e6)
    assert str(budget("steps:010")) == "steps:10"
    for text in ("90", "hours:2", "steps:0", "steps:-1", "seconds:nan", "seconds:inf", "tokens:"):
        with pytest.raises(FairbenchError, match="write seconds:N, steps:N or tokens:N with N of at least 1"):
            budget(text)


def test_all_digits_count() -> None:
    assert [arm.name for arm in arms("sft", ".1234567,.1234568", [], None)] == ["sft-0.1234567", "sft-0.1234568"]
    assert str(budget("tokens:12345678")) == "tokens:12345678"
    for text in ("steps:1.9", "tokens:10.5"):
        with pytest.raises(FairbenchError, match="are counted; name a whole number"):
            budget(text)


def test_a_control_may_name_its_arm_otherwise() -> None:
    assert arms("sft", "0,.5", [], "sft:.50:stated")[-1] == Arm("sft", "0.5", control=True)


def test_an_arm_has_one_name_however_its_share_is_written() -> None:
    assert arms("sft", "0.0", [], None) == [Arm("sft")]
    assert arms("sft", "0.50:stated", [], None) == [Arm("sft", "0.5:stated")]
