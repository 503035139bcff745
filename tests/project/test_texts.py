"""Texts from outside: hidden characters, Unicode forms, and prompts that only look equal."""

from __future__ import annotations

import pytest

from fairbench import keys
from fairbench.cards import texts
from fairbench.notices import collecting


@pytest.mark.parametrize(
    "text",
    [
        "a\0b",
        "a\x1b[31m",
        "nurse\u200b",
        "\ufeffnurse",
        "nur\u00adse",
        "\u202enurse",
        "nurse\u2066",
        "a\u200db",
        "\u200dnurse",
        "می\u200c",
        "\ud800",
        "a\u2028b",
        "a\x7f",
        "a\x85b",
        "a\U000e0041",
    ],
)
def test_characters_that_cannot_be_seen(text: str) -> None:
    hidden = texts.hidden_character(text)
    assert hidden is not None
    assert hidden.startswith("U+")


@pytest.mark.parametrize(
    "text",
    [
        "a nurse",
        "une infirmière",
        "می\u200cرود",
        "क्\u200dष",
        "ක්\u200dෂ",
        "👩\u200d⚕️",
        "👩🏽\u200d🔬",
        "看護師",
        "ممرضة",
        "\u0600\u0661",
        "9.41\u202fAM",
    ],
)
def test_characters_that_belong_to_a_text(text: str) -> None:
    assert texts.hidden_character(text) is None


def test_a_prompts_id_is_that_of_its_composed_form() -> None:
    composed, apart = "une infirmi\u00e8re", "une infirmie\u0300re"
    assert keys.prompt_id(composed) == keys.prompt_id(apart) == keys.digest("prompt", composed)
    assert keys.prompt_id("a nurse").hex() == "e493df5dd6dcfac83a3c95f3a3d31c87"


def test_nearly_equal_prompts_are_counted() -> None:
    with collecting() as notices:
        texts.report_near_equal(["a nurse", "A nurse", "a  nurse", "a judge", "ﬁre", "fire", "a nurses"], "task t")
    (notice,) = notices
    assert (notice.code, notice.count) == ("near-equal-prompts", 2)
    assert "5 prompts of task t" in notice.text
    assert notice.examples == ("'a nurse' and 'A nurse' and 'a  nurse'", "'ﬁre' and 'fire'")
