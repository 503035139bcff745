"""Steps from budgets: equal seconds with everything that an arm pays for, equal tokens, and the control."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from fairbench.display.progress import Silent
from fairbench.errors import FairbenchError
from fairbench.sweeps import costs, pilot, plan
from fairbench.sweeps.arms import Arm, arms, budget
from fairbench.sweeps.design import Design
from fairbench.training.job import Job
from fairbench.training.records import Records
from tests.builders.balanced import save_balanced

TOKENS = 16
CONFIRMATION = [{"images": 30}, {"images": 20}]


@pytest.fixture
def asked(tmp_path: Path) -> Design:
    """A sweep of four arms and a control, of a set whose 16 images took 50 to find."""
    manifest = save_balanced(tmp_path / "set")
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "provenance": {"confirmation": CONFIRMATION}}))
    listed = arms("sft,distill", "0,.8", [], None)
    parts = {"chosen": "phantom-mitigation-unseen", "judged": "phantom-mitigation-seen"}
    where = {"out": tmp_path / "out", "store": tmp_path / "store"}
    return Design("phantom", manifest, tuple(listed), 3, budget("steps:7"), parts, options={"batch": 10}, **where)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def warmed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of the sweeps that were warmed up."""
    done: list[Path] = []
    monkeypatch.setattr(pilot, "warm_up", lambda asked, _: done.append(asked.out))
    return done


def _steps(asked: Design, text: str) -> dict[str, int]:
    found = plan.made(dataclasses.replace(asked, budget=budget(text)), TOKENS, Silent())
    return {name: arm["steps"] for name, arm in found["arms"].items()}


def test_steps_and_the_control_that_has_as_many_debiasing_tokens(asked: Design) -> None:
    same = dict.fromkeys(("sft-0", "sft-0.8", "distill-0", "distill-0.8"), 7)
    assert _steps(asked, "steps:7") == {**same, "sft-0.8-control": 35}
    stored = json.loads((asked.out / plan.FILE).read_text())["arms"]
    assert stored["sft-0"]["debiasing"] == pytest.approx(stored["sft-0.8-control"]["debiasing"])
    assert stored["sft-0.8"]["debiasing"] == pytest.approx(stored["sft-0"]["debiasing"] / 5)


def test_tokens(asked: Design) -> None:
    assert _steps(asked, "tokens:999")["sft-0"] == 999 // (10 * TOKENS)


def test_equal_seconds_pay_for_the_set_the_set_up_and_the_steps(
    asked: Design, warmed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = {"sft-0": (4.0, 0.5), "sft-0.8": (6.0, 0.6), "distill-0": (30.0, 0.8), "distill-0.8": (31.0, 0.9)}
    begun = []

    def of_arm(_: Design, arm: Arm, __: object) -> dict[str, float]:
        begun.append(arm.name)
        return dict(zip(("setup", "step"), timed[arm.name], strict=True))

    monkeypatch.setattr(pilot, "of_arm", of_arm)
    monkeypatch.setattr(pilot, "of_image", lambda *_: 0.2)
    # 50 images were drawn and labelled for the set; distill alone looks at none of them, unless it retains some.
    expected = {
        "sft-0": int((100 - 10 - 4) / 0.5),
        "sft-0.8": int((100 - 10 - 6) / 0.6),
        "distill-0": int((100 - 30) / 0.8),
        "distill-0.8": int((100 - 10 - 31) / 0.9),
        "sft-0.8-control": 5 * int((100 - 10 - 4) / 0.5),
    }
    assert _steps(asked, "seconds:100") == expected
    stored = json.loads((asked.out / plan.FILE).read_text())["arms"]
    for name in timed:
        assert 99 < stored[name]["seconds"]["planned"] <= 100
    assert begun == [*timed]  # the control's price is that of its arm
    assert warmed == [asked.out]  # once, before the first pilot
    timed.update(dict.fromkeys(timed, (0.0, 0.001)))
    assert _steps(asked, "seconds:100") == expected, "a plan is made once"


@pytest.mark.parametrize(("share", "batch"), [("0", 10), (".8", 10), (".5", 2), (".8", 50)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_step_costs_what_its_share_lets_expect(
    asked: Design, monkeypatch: pytest.MonkeyPatch, share: str, batch: int, seed: int
) -> None:
    """An example of the trainer's own takes .3 s, one of capability data .02 s, and the first step 5 s more."""
    retained = float(share)

    def train(job: Job, _: object) -> None:
        since_start = 5.0
        for step in range(job.schedule.steps):
            drawn = (np.random.default_rng([seed, step, 0, 2]).random(batch) < retained).sum()
            since_start += 0.3 * (batch - drawn) + 0.02 * drawn + 0.1
            Records(job.out, job.out, step).add(step, {"seconds_a_step": since_start / (step + 1)})

    monkeypatch.setattr(pilot.finetune, "train", train)
    chosen = dataclasses.replace(asked, options={"batch": batch}, seed=seed)
    found = pilot.of_arm(chosen, arms("sft", share, [], "none")[0], Silent())
    assert found["step"] == pytest.approx(batch * ((1 - retained) * 0.3 + retained * 0.02) + 0.1, rel=1e-4)
    assert pilot.STEPS <= found["pilot_steps"] < pilot.MAX_STEPS


def test_a_set_whose_price_is_named_is_not_timed(asked: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "of_arm", lambda *_: {"setup": 0.0, "step": 1.0})
    found = plan.made(dataclasses.replace(asked, budget=budget("seconds:100"), data_seconds=40.0), TOKENS, Silent())
    assert (found["arms"]["sft-0"]["steps"], found["arms"]["distill-0"]["steps"]) == (60, 100)


def test_margins_are_those_of_the_judged_task_file(asked: Design, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    card = {"extends": "phantom-mitigation-seen", "name": "mine", "version": 1, "margins": {"clip_score": 0.125}}
    path.write_text(json.dumps(card))
    judged = dataclasses.replace(asked, tasks={**asked.tasks, "judged": str(path)}).margins
    assert (judged.values, judged.source) == ({"clip_score": 0.125}, "task mine")


def test_a_budget_that_is_too_small(asked: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "of_arm", lambda *_: {"setup": 8.0, "step": 0.5})
    monkeypatch.setattr(pilot, "of_image", lambda *_: 0.2)
    with pytest.raises(FairbenchError, match=r"leaves no step to sft-0, .* after 18 seconds"):
        _steps(asked, "seconds:18")
    assert not (asked.out / plan.FILE).exists()
    with pytest.raises(FairbenchError, match=r"tokens:159 leaves no step to sft-0, of which one takes 160 tokens"):
        _steps(asked, "tokens:159")


@pytest.mark.parametrize(
    ("arm", "drawn", "labelled"),
    [
        (Arm("sft"), 50, 50),  # the set's
        (Arm("bpo"), 50, 50),
        (Arm("distill"), 16, 16),  # an image per row, of its own
        (Arm("distill", "0.5:captions"), 66, 66),
        (Arm("grpo"), 3 * 10 * 8, 3 * 10 * 8),  # 8 for each prompt of every step
        (Arm("grpo", "0.5"), 50 + 3 * 5 * 8, 50 + 3 * 5 * 8),
    ],
)
def test_images_that_are_drawn_and_labelled(asked: Design, arm: Arm, drawn: int, labelled: int) -> None:
    found = costs.of_training(asked, arm, 3, TOKENS)
    assert (found.drawn, found.labelled) == (pytest.approx(drawn * TOKENS), pytest.approx(labelled))


@pytest.mark.parametrize(
    ("arm", "trained", "debiasing"),
    [(Arm("sft"), 10, 10), (Arm("sft", "0.8"), 10, 2), (Arm("bpo"), 40, 40), (Arm("bpo", "0.5"), 25, 20)],
)
def test_tokens_of_a_step(asked: Design, arm: Arm, trained: int, debiasing: int) -> None:
    assert costs.per_step(asked, arm, TOKENS) == pytest.approx((trained * TOKENS, debiasing * TOKENS))
