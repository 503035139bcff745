"""Measures from captions: values by hand, an independent computation, and the words that count."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.axes.captions import AskedFor, Thing, measures
from fairbench.axes.words import things, with_persons
from fairbench.stats.intervals import Scope

NURSE, PILOT = AskedFor("A photo of a nurse, a person", "nurse"), AskedFor("A photo of pilots", "pilots")
CAPTIONS = [
    "A woman in a blue hat.",  # nurse: person of (person, blue, hat | nurse, person): 1 - 1/4; subject unnamed
    "Two nurses at a bed",  # 1 - 1/3
    "a dog",  # 1 - 0/3
    "A pilot's hat",  # pilot: 1 - 1/2
    "the of and",  # nothing: left out
    "a man with a blue dog",  # pilot: 1 - 0/4
]
PROMPT = np.array([0, 0, 0, 1, 1, 1])


def test_values_by_hand() -> None:
    found = measures([NURSE, PILOT], PROMPT, CAPTIONS)
    assert (found.images, found.prompts, found.empty) == (5, 2, 1)
    nurse, pilot = (0.75 + 2 / 3 + 1.0) / 3, (0.5 + 1.0) / 2
    assert found.hallucination["this list"].estimate == pytest.approx((nurse + pilot) / 2)
    assert found.missed["this list"].estimate == pytest.approx((1 / 3 + 1 / 2) / 2)  # the dog; the man with a dog
    assert found.unnamed_subject is not None
    assert found.unnamed_subject["this list"].estimate == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.things == [
        Thing("blue", 2), Thing("dog", 2), Thing("hat", 2), Thing("bed", 1), Thing("man", 1), Thing("woman", 1)
    ]  # fmt: off
    assert found.distribution_bias == pytest.approx(2.5)  # 1, 1, 1, 0, 0, 0


def test_limits_hold_the_truth_for_this_list_and_for_other_prompts() -> None:
    rng = np.random.default_rng(5)
    hits: dict[Scope, float] = {"this list": 0, "other prompts": 0}
    for _ in range(200):
        rates = rng.choice([0.2, 0.6, 0.9], 12)
        prompt = np.repeat(np.arange(12), 8)
        captions = np.where(rng.random(96) < rates[prompt], "dog", "nurse")
        found = measures([AskedFor("nurse", "nurse")] * 12, prompt, captions.tolist())
        truths: dict[Scope, float] = {"this list": rates.mean(), "other prompts": float(np.mean([0.2, 0.6, 0.9]))}
        for scope, truth in truths.items():
            for estimate in (found.hallucination, found.missed):  # of one thing against another, the two are the same
                interval = estimate[scope]
                hits[scope] += interval.low <= truth <= interval.high
    assert hits["this list"] >= 2 * 200 * 0.92 and hits["other prompts"] >= 2 * 200 * 0.93


def test_images_that_are_all_alike_have_an_interval_with_a_width() -> None:
    found = measures([NURSE, PILOT], PROMPT, ["a dog"] * 6)
    for estimate in (found.hallucination, found.missed):
        interval = estimate["this list"]
        assert interval.estimate == 1.0 and interval.low < 0.95 and interval.high == 1.0


def test_one_image_per_prompt_has_the_largest_error() -> None:
    interval = measures([NURSE, PILOT], np.array([0, 1]), ["a nurse", "a dog"]).hallucination["this list"]
    assert interval.error == pytest.approx(np.sqrt(0.25 / 2))


def test_prompts_without_a_subject_have_no_share_without_it() -> None:
    assert measures([AskedFor("a nurse")], np.array([0]), ["a dog"]).unnamed_subject is None


def test_the_same_rule_reads_prompts_and_captions() -> None:
    assert things("A photo of the face of a nurse, a person") == {"face", "nurse", "person"}
    assert things("Three men wearing men’s glasses and well-worn shoes; 3 boxes!") == {
        *("man", "glasses", "well-worn", "shoe", "box")
    }
    assert with_persons(things("a woman and a doctor")) == {"person", "doctor"}
    assert things("") == things("a photo of it") == frozenset()
