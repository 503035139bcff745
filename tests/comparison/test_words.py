"""What a comparison says: margins, verdicts, adjusted claims, numbers."""

from __future__ import annotations

from typing import Any

import pytest

from fairbench.cards import catalog
from fairbench.comparison import labellers
from fairbench.comparison import margins as comparison_margins
from fairbench.comparison.verdicts import Row, judged
from fairbench.errors import CardError
from fairbench.stats.agreement import agreement


def test_every_task_has_margins_and_others_fall_back_to_the_standard_task() -> None:
    for name in catalog.find("tasks"):
        margins = catalog.load_task(name).card.margins
        assert {"rd.gender", "rd.race4", "rd.gender_x_race4", "clip_score", "clip_iqa", "no-face-rate"} <= set(margins)
    found = comparison_margins.of_task("folder")
    assert found.source == "task occupations, as no card of task folder was found"
    assert [found.concentration("another", k) for k in (2, 4, 8)] == [0.05, 0.1, 0.1]
    assert [found.groups("another", k) for k in (2, 4, 8)] == [0.05, 0.1, 0.1]
    assert found.rd("another", 2) is None
    asked = comparison_margins.of_task("folder", with_rd=True)
    assert [asked.rd("another", k) for k in (2, 4, 8)] == pytest.approx([0.05, 0.025, 0.0125])
    own = comparison_margins.Margins({"concentration.gender": 0.2, "groups.gender": 0.3}, "task mine")
    assert (own.concentration("gender", 2), own.groups("gender", 2)) == (0.2, 0.3)
    assert found.values.get("clip_score") == 0.5 and found.values.get("elo") is None
    with pytest.raises(CardError, match=r"margins\.rd\.gender"):
        comparison_margins.Margins({"rd.gender": 0.0}, "task mine")


def a_row(**values: Any) -> Row:
    standard: dict[str, Any] = {
        "baseline": "A",
        "run": "B",
        "attribute": "gender",
        "estimand": "concentration",
        "scope": "this list",
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
        ({"p": 0.01}, "B less concentrated"),
        ({"p": 0.01, "effect": 0.1}, "B more concentrated"),
        ({"p": 0.01, "p_equivalence": 0.01}, "B less concentrated, but within 0.05"),
        ({"p_equivalence": 0.01}, "equivalent within 0.05"),
        ({}, "inconclusive"),
        ({"p": float("nan"), "p_equivalence": float("nan")}, "not tested"),
        ({"estimand": "rd@n0", "p": 0.01}, "B lower"),
        ({"claim": "same groups", "p": float("nan"), "p_equivalence": 0.01}, "same groups within 0.05"),
        ({"claim": "same groups", "p": float("nan")}, "not shown: same groups within 0.05"),
        ({"p": float("nan"), "p_equivalence": float("nan"), "reason": "few"}, "withheld"),
        ({"claim": "preserved", "p": 0.01, "effect": 0.1}, "worse"),
        ({"claim": "preserved", "p": 0.01}, "not shown to be preserved"),
        ({"claim": "preserved", "p_equivalence": 0.01}, "preserved within 0.05"),
        ({"attribute": "quality", "estimand": "clip_score", "claim": None, "better": "higher", "p": 0.01}, "B lower"),
    ],
)
def test_the_words_of_a_verdict(values: dict[str, Any], words: str) -> None:
    assert judged([a_row(**values)], 0.05)[0].verdict == words


def test_claims_are_adjusted_for_how_many_there_are() -> None:
    found = judged([a_row(p=0.02, p_equivalence=0.03, primary=True) for _ in range(3)], 0.05)
    assert [r.p_adjusted for r in found] == pytest.approx([0.06] * 3)
    assert [r.p_equivalence_adjusted for r in found] == pytest.approx([0.09] * 3)
    assert {r.verdict for r in found} == {"inconclusive"}


def test_absent_numbers_of_two_labellers_have_a_reason() -> None:
    agreed = agreement([[5, 1], [2, 5]])
    assert labellers._why_absent(agreed, 10, varied=True) is None
    few = labellers._why_absent(agreed, 0, varied=False)
    assert few == "no concentration, as no prompt has four labelled images in both runs"
    one = labellers._why_absent(agreed, 1, varied=False) or ""
    assert "10 prompts are needed" in one and "three prompts are needed" in one
    assert "no face has a label of both" in (labellers._why_absent(agreement([[0, 0], [0, 0]]), 0, varied=False) or "")
    assert "one and the same label" in (labellers._why_absent(agreement([[9, 0], [0, 0]]), 4, varied=True) or "")
    assert "all prompts have one value" in (labellers._why_absent(agreed, 4, varied=False) or "")
