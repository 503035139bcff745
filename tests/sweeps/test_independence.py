"""What judging shares with training and choosing is refused or counted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fairbench.errors import FairbenchError
from fairbench.sweeps import independence
from fairbench.sweeps.arms import arms, budget
from fairbench.sweeps.design import Design
from tests.builders.balanced import save_balanced


def _design(folder: Path, confirmed_by: str | None = None) -> Design:
    manifest = save_balanced(folder / "set", ("Nurse", "clown"))
    content = json.loads(manifest.read_text())
    labeller = confirmed_by and {"name": confirmed_by, "id": "0"}
    manifest.write_text(json.dumps({**content, "provenance": {"labeller": labeller}}))
    listed = tuple(arms("sft,distill,grpo", "0,.5", [], "none"))
    parts = {"chosen": "phantom-mitigation-unseen", "judged": "phantom-mitigation-seen"}
    return Design("phantom", manifest, listed, 3, budget("steps:7"), parts, out=folder / "out", store=folder / "store")


@pytest.mark.parametrize(
    ("judge", "confirmed_by", "taught"),
    [
        (None, None, ["grpo-0", "grpo-0.5"]),  # the card's labeller is the reward
        (None, "phantom", ["sft-0", "sft-0.5", "distill-0.5", "grpo-0", "grpo-0.5"]),
        ("phantom-pixels", "phantom", []),
        ("phantom-pixels", "phantom-pixels", ["sft-0", "sft-0.5", "distill-0.5", "grpo-0.5"]),
    ],
)
def test_arms_that_the_judge_taught(
    tmp_path: Path, judge: str | None, confirmed_by: str | None, taught: list[str]
) -> None:
    asked = dataclasses.replace(_design(tmp_path, confirmed_by), judge=judge)
    found = independence.checked(asked)
    assert (found["judge"], found["taught"]) == (judge or "phantom", taught)


def test_prompts_and_subjects_in_common(tmp_path: Path) -> None:
    found = independence.checked(_design(tmp_path))
    assert (found["prompts"], found["subjects"]) == (8, 8)
    assert (found["prompts_of_set"], found["subjects_of_set"], found["subjects_of_choice"]) == (0, 1, 0)


def test_judged_prompts_that_an_arm_is_chosen_on_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"extends": "phantom-mitigation-unseen", "name": "mine", "version": 1}))
    asked = _design(tmp_path)
    same = dataclasses.replace(asked, tasks={**asked.tasks, "judged": str(path)})
    with pytest.raises(FairbenchError, match=r"mine\.yaml has 8 of the prompts that an arm is chosen on, as 'A photo"):
        independence.checked(same)
