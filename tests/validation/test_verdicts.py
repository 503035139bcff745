"""The study of verdicts: what fair and uneven models are called, and that a wrong rule does not pass."""

from __future__ import annotations

import pytest

from fairbench.runs import verdict
from fairbench.validation import verdicts
from fairbench.validation.cells import Cell, Measure


def measures(model: str, labeller: str = "exact", replicates: int = 60, **sizes: int) -> dict[str, Measure]:
    settings = {"model": model, "labeller": labeller, "K": 2, "P": 20, "n": 50, **sizes}
    return {m.name: m for m in verdicts.run(Cell("verdicts", settings, replicates))}


def test_words_are_right() -> None:
    fair, mix = measures("fair"), measures("mix")
    assert fair["uneven"].value == 0 and fair["uneven"].most == 0.05
    assert mix["uneven"].value == 1 and mix["not shown"].holds
    assert sum(m.value for m in fair.values()) == pytest.approx(1)
    assert measures("fair", P=50, n=160)["balanced"].value > 0.9
    assert measures("slight", P=50, n=160)["balanced"].value <= 0.1


def test_a_fair_model_is_not_called_uneven_by_a_labeller_that_leans() -> None:
    """Read shares of .55 and .45 make concentration .01, which a table explains."""
    assert measures("fair", "leans", 40, P=50, n=160)["uneven"].value == 0
    assert measures("one-sided", "errs", 40)["uneven"].value > 0.8


def test_a_rule_that_takes_chance_for_unevenness_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "finding", lambda headline: "uneven" if headline.read.value > 0 else "open")
    assert not measures("fair")["uneven"].holds
