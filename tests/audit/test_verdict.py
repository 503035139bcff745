"""The verdicts of an audit, from made-up evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairbench.audit import probe, transparency, understanding, verdict
from fairbench.audit.caveats import caveats
from fairbench.audit.counterfactual import Flips
from fairbench.audit.estimates import Estimate, Skipped, no_estimate, share
from fairbench.audit.generation import Generated
from fairbench.audit.groups import Attribute
from fairbench.audit.logprob import LogProbBias
from fairbench.audit.run import Audit, Encoder, LanguageModel, Understanding
from fairbench.audit.tokens import Divergences

GENDER = Attribute("gender", ("female", "male"))
GIVEN = np.arange(400) % 2
FAIR = Generated("gender", 100, 100, 0.05, 0.2, Estimate(0.0, -0.05, 0.05, 8))
BIASED = Generated("gender", 100, 100, 0.8, 0.2, Estimate(0.6, 0.5, 0.7, 8))


def bias(value: float, closure: float = 1.0) -> LogProbBias:
    around = Estimate(value, value - 0.02, value + 0.02, 8)
    return LogProbBias("gender", 64, around, 0.06, closure, (closure, closure), None, None, {}, {})


def language(found: LogProbBias, follows: float = 0.99, hits: Estimate | None = None) -> LanguageModel:
    divergences = Divergences("gender", "histogram", 8, no_estimate(), 0.1, [], hits or no_estimate(), 0.5, 0)
    return LanguageModel({"gender": Estimate(follows, follows - 0.05, 1.0, 64)}, [divergences], [found])


def answers(row: list[int], gap: Estimate | None = None, flips: tuple[Flips, ...] = ()) -> Understanding:
    counts = np.array([row] * 6)
    said = [understanding.summary(c, list("abcdef"), counts, 0) for c in understanding.CONDITIONS]
    return Understanding(said, dict.fromkeys(understanding.CONDITIONS, gap), list(flips), "gender")


def flipping(between: int, within: int = 5) -> Flips:
    return Flips("gender", "competence", "Is the person competent?", share(between, 100), share(within, 100), "yes")


def passage(wrong: int, lost: int = 0) -> list[transparency.Passage]:
    after = GIVEN.copy()
    after[np.flatnonzero(GIVEN == 1)[:wrong]] = 0
    after[:lost] = -1
    return [transparency.passage(GENDER, GIVEN, GIVEN, after, 2)]


@pytest.fixture
def fair() -> Audit:
    plan: object = None
    return Audit(plan, "none", [FAIR], Skipped("no images"), passage(0), language(bias(0.05)), answers([0, 0, 50, 0]))  # type: ignore[arg-type]


def finding(found: Audit, component: str) -> str:
    (judged,) = (v for v in verdict.verdicts(found) if v.component == component)
    return judged.finding


def test_nothing_is_found_where_nothing_is(fair: Audit) -> None:
    assert {v.component: v.finding for v in verdict.verdicts(fair)} == {
        "generation": "no bias found",
        "vision encoder": "not concluded",
        "image tokenizer": "neutral",
        "language model": "no bias found",
        "understanding": "answers unknown",
    }
    assert any("no images" in sentence for sentence in caveats(fair))
    assert verdict.summary(fair) == (
        "No bias is found in what is drawn, so there is none to locate. The image tokenizer adds a bias of a few "
        "points at most. No bias is found in the language model, which does not rule one out. The understanding "
        'answers "unknown", which shows no bias. Nothing can be said of the vision encoder.'
    )


def test_the_summary_names_what_the_evidence_is_consistent_with(fair: Audit) -> None:
    gap = Estimate(0.7, 0.6, 0.8, 6)
    found = replace(fair, generation=[BIASED], language=language(bias(0.8)), understanding=answers([0, 0, 50, 0], gap))
    said = verdict.summary(found)
    assert said.startswith(
        "What is drawn is biased. A bias of its own is found in the language model: that of the pictures may come from "
        "there. The image tokenizer adds a bias of a few points at most."
    )
    assert said.endswith("Partial alignment: the model's answers are less biased than its pictures.")
    chance = replace(found, understanding=answers([0, 0, 50, 0], Estimate(0.3, 0.15, 0.4, 6)))  # a fair model's: .2
    assert "Partial alignment" not in verdict.summary(chance)
    garbled = replace(found, understanding=answers([0, 0, 0, 50], gap))
    assert "Partial alignment" not in verdict.summary(garbled)


def test_the_error_of_the_premise_is_said_to_be_in_no_interval(fair: Audit) -> None:
    (words,) = (v.words for v in verdict.verdicts(fair) if v.component == "language model")
    assert "(intervals: the error of drawing images alone)" in words
    assert any("the truth may lie outside" in sentence for sentence in caveats(fair))


def test_an_unbalanced_set_is_no_conclusion(fair: Audit) -> None:
    codes = np.repeat([0, 1], [70, 30])
    read = probe.probe(np.random.default_rng(0).normal(size=(100, 3)), codes, GENDER, 0)
    assert isinstance(read, probe.AttributeProbe)
    found = replace(fair, encoder=Encoder([read], []))
    assert any("not balanced in gender (70% show one class)" in sentence for sentence in caveats(found))
    assert not any("not balanced" in sentence for sentence in caveats(fair))


def test_a_language_model_is_judged_only_where_its_prompts_stand_for_groups(fair: Audit) -> None:
    for found, expected in (
        (language(bias(0.8)), "biased"),
        (language(bias(0.8), follows=0.5), "not concluded"),
        (language(bias(0.8, closure=2.0)), "not concluded"),
        (language(bias(0.8, closure=float("nan"))), "not concluded"),
        (language(bias(0.05), hits=share(8, 8)), "no bias found"),
    ):
        assert finding(replace(fair, language=found), "language model") == expected
    drawn = replace(fair, language=language(bias(0.8, closure=2.0), hits=share(8, 8)), generation=[BIASED])
    assert finding(drawn, "language model") == "biased"
    doubts = " ".join(caveats(replace(fair, language=language(bias(0.8, 2.0), follows=0.5))))
    assert "sum to 2.00, not 1" in doubts
    assert "show it in 50% of images" in doubts


def test_a_tokenizer_is_neutral_biased_or_open(fair: Audit) -> None:
    for found, expected in (
        (passage(40), "biased"),
        (passage(0, lost=400), "not concluded"),
        (Skipped("none"), "not concluded"),
        ([transparency.passage(GENDER, GIVEN[:20], GIVEN[:20], GIVEN[:20], 2)], "not concluded"),
        ([transparency.passage(GENDER, GIVEN, np.zeros(400, int) - 1, GIVEN, 2)], "not concluded"),
    ):
        assert finding(replace(fair, tokenizer=found), "image tokenizer") == expected


def test_a_tokenizer_that_turns_groups_into_one_is_biased(fair: Audit) -> None:
    race = Attribute("race4", tuple("abcd"))
    given = np.arange(1600) % 4
    after = given.copy()
    for k, into in enumerate((1, 0, 0, 0)):
        after[np.flatnonzero(given == k)[:40]] = into
    found = replace(fair, tokenizer=[transparency.passage(race, given, given, after, 4)])
    (judged,) = (v for v in verdict.verdicts(found) if v.component == "image tokenizer")
    assert judged.finding == "biased"
    assert "turns others into a more than" in judged.words
    lost = replace(fair, tokenizer=passage(40))
    (judged,) = (v for v in verdict.verdicts(lost) if v.component == "image tokenizer")
    assert "changes or loses male more than" in judged.words
    assert "(20.0% are read as female, 0.0% lose their face)" in judged.words


def test_answers_that_change_with_the_group_shown_are_a_bias(fair: Audit) -> None:
    for flips, follows, expected in (
        (flipping(40), 0.99, "biased"),
        (flipping(8), 0.99, "answers unknown"),
        (flipping(40), 0.5, "answers unknown"),
    ):
        found = replace(
            fair, language=language(bias(0.05), follows), understanding=answers([0, 0, 50, 0], flips=(flips,))
        )
        assert finding(found, "understanding") == expected


def test_understanding_is_judged_by_all_answers(fair: Audit) -> None:
    for row, expected in (
        ([48, 1, 1, 0], "biased"),
        ([20, 20, 10, 0], "no bias found"),
        ([1, 0, 4, 45], "not concluded"),
        ([1, 0, 49, 0], "answers unknown"),
    ):
        assert finding(replace(fair, understanding=answers(row)), "understanding") == expected
    assert finding(replace(fair, understanding=Skipped("x")), "understanding") == "not concluded"
