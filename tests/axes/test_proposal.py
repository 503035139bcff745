"""Proposals: what is asked, how answers are read, how those of several prompts become one list."""

from __future__ import annotations

from collections.abc import Sequence

from fairbench.axes.proposal import Line, lines_of, merged, propose
from fairbench.types import Prompt

ANSWERS = {
    "nurse": """Of course! Here they are:
1. **Glasses** | Does the person wear glasses? | Yes / No
- place | Where is the person? | indoors / outdoors / unclear.
| Clothes | What does the nurse wear? | scrubs / suit |
mood | a smile | yes / no
age | How old does the person look? | young""",
    "pilot": "glasses|Does the person wear glasses?|yes/no\nPLACE | Is the person inside? | yes / no",
    "cook": "place | Where is the person? | Indoors / Outdoors",
    "judge": "I cannot help with that.",
}


def prompts() -> list[Prompt]:
    return [Prompt(s.encode(), s.encode(), "t", 1, "face", f"A photo of a {s}", s) for s in ANSWERS]


def test_a_list_of_axes_comes_from_the_answers_of_many_prompts() -> None:
    seen: list[tuple[str, int]] = []

    def write(questions: Sequence[str], seeds: Sequence[int]) -> list[str]:
        seen.extend(zip(questions, seeds, strict=True))
        return list(ANSWERS.values())

    axes, left_out, unusable = propose(prompts(), write, seed=3)
    assert [(a.name, a.prompts, a.answers) for a in axes] == [
        ("place", 3, ["indoors", "outdoors"]),
        ("glasses", 2, ["yes", "no"]),
    ]
    assert axes[0].question == "Where is the person?"  # of two prompts; another wording is of one
    why = {each.proposal.partition(" | ")[0]: each.why for each in left_out}
    assert why.keys() == {"clothes", "age"}
    assert why["clothes"] == "it names 'nurse', which the prompt says" and "at least 2" in why["age"]
    assert unusable == 1
    questions, seeds = zip(*seen, strict=True)
    assert all(f"A photo of a {s}" in q for s, q in zip(ANSWERS, questions, strict=True)) and len(set(seeds)) == 4
    assert propose(prompts(), write, seed=3)[0] == axes and seen[:4] == seen[4:]


def test_only_so_many_are_kept_and_the_rest_is_named() -> None:
    def write(questions: Sequence[str], seeds: Sequence[int]) -> list[str]:
        return list(ANSWERS.values())

    axes, left_out, _ = propose(prompts(), write, seed=0, most=1)
    assert [a.name for a in axes] == ["place"]
    assert ("glasses", "beyond the first 1") in [(each.proposal, each.why) for each in left_out]


def test_lines_without_the_form_are_none() -> None:
    assert list(lines_of("a | b? | c\n | what? | x / y\nname | what? | \n a | b? | c / d | e")) == [
        Line("a", "b?", ("c",), 0)
    ]


def test_hidden_characters_never_reach_the_file() -> None:
    axes, left_out = merged([Line("hat", "A hat\u202e?", ("yes", "no"), 0)], frozenset(), 5)
    assert not axes and left_out[0].proposal == "hat | A hat? | yes / no" and "U+202E" in left_out[0].why
