"""Runs without a common prompt, paired by what their prompts are about."""

from __future__ import annotations

import pytest

from fairbench.comparison.concepts import positions
from fairbench.errors import FairbenchError
from fairbench.types import Prompt


def prompt(text: str, subject: str, concept: str = "", form: str = "") -> Prompt:
    return Prompt(text.encode(), text.encode(), "t", 1, "x", text, subject, concept=concept, form=form)


ENGLISH = [prompt("a judge", "judge"), prompt("a nurse", "nurse")]
GERMAN = [
    prompt("ein Pfleger", "ein Pfleger", "nurse", "masculine"),
    prompt("eine Pflegerin", "eine Pflegerin", "nurse", "feminine"),
    prompt("eine Richterin", "eine Richterin", "judge", "feminine"),
    prompt("ein Richter", "ein Richter", "judge", "masculine"),
]


def test_each_concept_stands_where_its_form_does() -> None:
    english, german = positions([ENGLISH, GERMAN], ["A", "B"], ["", "feminine"])
    assert english == {b"judge": 0, b"nurse": 1}
    assert german == {b"nurse": 1, b"judge": 2}


@pytest.mark.parametrize(
    ("forms", "words"),
    [
        (None, "B has each concept in the forms masculine, feminine: say with --forms"),
        (["", ""], "say with --forms"),
        (["", "star"], "B has the forms masculine, feminine"),
        (["star", "feminine"], "A has no forms: write -"),
        (["feminine"], "names 1 forms of 2 runs"),
    ],
)
def test_what_is_not_said_is_asked(forms: list[str] | None, words: str) -> None:
    with pytest.raises(FairbenchError, match=words):
        positions([ENGLISH, GERMAN], ["A", "B"], forms)


def test_runs_without_a_common_concept_are_refused() -> None:
    with pytest.raises(FairbenchError, match="no prompt in common"):
        positions([ENGLISH, [prompt("a cook", "cook")]], ["A", "B"], None)
    with pytest.raises(FairbenchError, match="two of one concept"):
        positions([ENGLISH, [prompt("one", "cook"), prompt("two", "cook")]], ["A", "B"], None)
