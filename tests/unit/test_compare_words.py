"""What a comparison says: margins, verdicts, adjusted claims, numbers."""

from __future__ import annotations

from typing import Any

import pytest

from fairbench import catalog
from fairbench.errors import CardError
from fairbench.report.compare_numbers import number, p_value, span
from fairbench.stages import compare_margins
from fairbench.stages.compare_verdicts import Row, judged


def test_every_task_has_margins_and_others_fall_back_to_the_standard_task() -> None:
    for name in catalog.find("tasks"):
        margins = catalog.load_task(name).card.margins
        assert {"rd.gender", "rd.race4", "rd.gender_x_race4", "clip_score", "clip_iqa", "no-face-rate"} <= set(margins)
    found = compare_margins.of_task("folder")
    assert found.source == "task occupations, as no card of task folder was found"
    assert [found.rd("another", k) for k in (2, 4, 8)] == pytest.approx([0.05, 0.025, 0.0125])
    assert found.quality("clip_score") == 0.5 and found.quality("elo") is None
    with pytest.raises(CardError, match=r"margins\.rd\.gender"):
        compare_margins.Margins({"rd.gender": 0.0}, "task mine")


def a_row(**values: Any) -> Row:
    standard: dict[str, Any] = {
        "baseline": "A", "run": "B", "attribute": "gender", "estimand": "rd@n0", "scope": "prompts like these",
        "a": 0.5, "b": 0.4, "effect": -0.1, "low": -0.2, "high": 0.0, "p": 0.5, "n_prompts": 9, "left_out": 0,
        "better": "lower", "claim": "equivalent", "margin": 0.05, "p_equivalence": 0.5,
    }  # fmt: skip
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


def test_numbers_are_short_and_never_lose_a_digit() -> None:
    assert [number(v) for v in (0.1234, -0.05, 1.5, 10.25, 30.567, 0.0, -1e-9)] == [
        ".123", "-.050", "1.500", "10.25", "30.57", ".000", ".000"]  # fmt: skip
    assert number(0.04, sign=True) == "+.040" and number(float("nan")) == "none"
    assert p_value(1e-5) == "<.001" and p_value(0.0421) == ".042" and p_value(float("nan")) == "none"
    assert span(-0.1, 0.2) == "-.100 .200" and span(float("nan"), 1) == ""
