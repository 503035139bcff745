"""Sections of a run's prompts: which there are, and how often a difference is said where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench import keys
from fairbench.cards import catalog
from fairbench.runs import sections
from fairbench.runs.prompts import expand
from fairbench.runs.sections import Sections, of_prompts
from fairbench.stats import intervals
from fairbench.types import Prompt


def test_which_tasks_have_categories_and_which_are_paired() -> None:
    found = {name: of_prompts(expand(catalog.load_task(name).card), "category") for name in catalog.find("tasks")}
    assert {name: each.paired for name, each in found.items() if each is not None} == {"levels": True, "traits": False}
    levels = found["levels"]
    assert levels is not None and [*levels.prompts] == ["bare", "attribute", "context", "elaborated"]


def _prompt(text: str, subject: str, category: str) -> Prompt:
    return Prompt(keys.prompt_id(text), keys.prompt_id(text), "t", 1, "x", text, subject, category)


def test_pairs_are_subjects_whatever_their_order_and_one_may_be_cut_off() -> None:
    asked = [_prompt(f"{c} {s}", s, c) for c, subjects in (("a", "xyz"), ("b", "zxy")) for s in subjects]
    found = of_prompts(asked, "category")
    assert found is not None and found.paired
    assert [asked[i].subject for i in found.prompts["b"]] == [asked[i].subject for i in found.prompts["a"]]
    cut = of_prompts(asked[:-1], "category")
    assert cut is not None and cut.paired and {len(each) for each in cut.prompts.values()} == {2}
    others = [_prompt(f"{i}", f"s{i}", "ab"[i % 2]) for i in range(6)]
    unpaired = of_prompts(others, "category")
    assert unpaired is not None and not unpaired.paired
    assert of_prompts(others[:3], "category") is None  # one prompt has category b
    assert of_prompts([*others, _prompt("none", "none", "")], "category") is None


@pytest.mark.parametrize("paired", [True, False])
def test_differences_hold_for_this_list_and_for_other_prompts(paired: bool) -> None:
    rng = np.random.default_rng(5)
    halves = {"a": np.arange(12), "b": np.arange(12, 24)}
    found = Sections(halves, paired)
    inside, others, repeats = 0, 0, 300
    for _ in range(repeats):
        p = rng.dirichlet([2, 1, 1], 12)
        p = np.vstack([p, p if paired else rng.dirichlet([2, 1, 1], 12)])
        data = np.stack([rng.multinomial(12, row) for row in p])
        values = intervals.share_of_prompts(data, 0)
        _, b = sections._of_quantity("race", "c", values, (0.0, 1.0), found)
        truth = p[12:, 0].mean() - p[:12, 0].mean()
        inside += b.d_low <= truth <= b.d_high
        others += b.o_low <= 0 <= b.o_high
        assert b.difference == pytest.approx(values.value[12:].mean() - values.value[:12].mean())
    assert 0.92 <= inside / repeats <= 0.985 and others / repeats >= 0.95
