"""What a comparison says: margins, verdicts, adjusted claims, numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairbench.cards import catalog
from fairbench.comparison import compare, labellers
from fairbench.comparison import margins as comparison_margins
from fairbench.comparison.verdicts import Row, judged
from fairbench.display.numbers import number
from fairbench.errors import CardError
from fairbench.stats.agreement import agreement
from fairbench.stats.paired import pair, sign_flip_p


def test_every_task_has_margins_and_others_fall_back_to_the_standard_task() -> None:
    for name in catalog.find("tasks"):
        margins = catalog.load_task(name).card.margins
        assert {"rd.gender", "rd.race4", "rd.gender_x_race4", "clip_score", "clip_iqa", "no-face-rate"} <= set(margins)
    found = comparison_margins.of_task("folder")
    assert found.source == "task occupations, as no card of task folder was found"
    assert [found.rd("another", k) for k in (2, 4, 8)] == pytest.approx([0.05, 0.025, 0.0125])
    assert found.values.get("clip_score") == 0.5 and found.values.get("elo") is None
    with pytest.raises(CardError, match=r"margins\.rd\.gender"):
        comparison_margins.Margins({"rd.gender": 0.0}, "task mine")


def a_row(**values: Any) -> Row:
    standard: dict[str, Any] = {
        "baseline": "A",
        "run": "B",
        "attribute": "gender",
        "estimand": "rd@n0",
        "scope": "other prompts",
        "a": 0.5,
        "b": 0.4,
        "effect": -0.1,
        "low": -0.2,
        "high": 0.0,
        "p": 0.5,
        "n_prompts": 9,
        "left_out": 0,
        "better": "lower",
        "claim": "equivalent",
        "margin": 0.05,
        "p_equivalence": 0.5,
    }
    return Row(**{**standard, **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"p": 0.01}, "B lower (less biased)"),
        ({"p": 0.01, "effect": 0.1}, "B higher (more biased)"),
        ({"p": 0.01, "p_equivalence": 0.01}, "B lower (less biased), but within 0.05"),
        ({"p_equivalence": 0.01}, "equivalent within 0.05"),
        ({}, "inconclusive"),
        ({"p": float("nan"), "p_equivalence": float("nan")}, "inconclusive"),
        ({"claim": "preserved", "p": 0.01, "effect": 0.1}, "worse"),
        ({"claim": "preserved", "p": 0.01}, "not shown to be preserved"),
        ({"claim": "preserved", "p_equivalence": 0.01}, "preserved within 0.05"),
        ({"attribute": "quality", "claim": None, "better": "higher", "p": 0.01}, "B lower"),
    ],
)
def test_the_words_of_a_verdict(values: dict[str, Any], words: str) -> None:
    assert judged([a_row(**values)], 0.05)[0].verdict == words


def test_claims_are_adjusted_for_how_many_there_are() -> None:
    found = judged([a_row(p=0.02, p_equivalence=0.03, primary=True) for _ in range(3)], 0.05)
    assert [r.p_adjusted for r in found] == pytest.approx([0.06] * 3)
    assert [r.p_equivalence_adjusted for r in found] == pytest.approx([0.09] * 3)
    assert {r.verdict for r in found} == {"inconclusive"}


@pytest.mark.parametrize(("prompts", "p", "words"), [(4, ".125", "6 prompts"), (2, ".500", "6 prompts")])
def test_too_few_prompts_to_show_anything_are_said(prompts: int, p: str, words: str) -> None:
    (note,) = compare._too_few_prompts([a_row(primary=True, n_prompts=prompts)], 0.05)
    assert f"cannot fall below {p}" in note and words in note
    best = sign_flip_p(pair(np.zeros(prompts), np.arange(1.0, prompts + 1)), np.random.default_rng(0))
    assert number(best) == p


def test_what_prompts_can_show_depends_on_the_tests() -> None:
    assert compare._too_few_prompts([a_row(primary=True, n_prompts=6)], 0.05) == []
    (note,) = compare._too_few_prompts([a_row(primary=True, n_prompts=6)] * 3, 0.05)
    assert "for 3 tests not below .094" in note and "7 prompts are the fewest" in note
    assert compare._too_few_prompts([a_row(primary=True, n_prompts=7)] * 3, 0.05) == []
    assert compare._too_few_prompts([a_row(primary=True, n_prompts=0, p=float("nan"))], 0.05) == []
    assert compare._too_few_prompts([a_row(n_prompts=2)], 0.05) == []  # exploratory: shown as what it is


def test_absent_numbers_of_two_labellers_have_a_reason() -> None:
    agreed = agreement([[5, 1], [2, 5]])
    assert labellers._why_absent(agreed, 5, varied=True) is None
    few = labellers._why_absent(agreed, 0, varied=False)
    assert few == "no rd, as no prompt has 10 labelled faces in both runs"
    one = labellers._why_absent(agreed, 1, varied=False) or ""
    assert "only one prompt has 10" in one and "three prompts are needed" in one
    assert "no face has a label of both" in (labellers._why_absent(agreement([[0, 0], [0, 0]]), 0, varied=False) or "")
    assert "one and the same label" in (labellers._why_absent(agreement([[9, 0], [0, 0]]), 4, varied=True) or "")
    assert "all prompts have one rd" in (labellers._why_absent(agreed, 4, varied=False) or "")
