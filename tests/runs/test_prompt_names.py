"""Short names: no two prompts of a run have the same, on any shipped task and on any made-up one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairbench import keys
from fairbench.cards import catalog
from fairbench.runs import prompts
from fairbench.runs.prompt_names import of_prompts
from fairbench.types import Prompt


def _prompt(text: str, subject: str, template: str = "t", **more: object) -> Prompt:
    return Prompt(keys.prompt_id(text), keys.prompt_id(text), "task", 1, template, text, subject, **more)  # type: ignore[arg-type]


def test_subjects_that_stand_once_are_names_and_others_get_what_tells_them_apart() -> None:
    asked = [
        _prompt("a nurse", "nurse", "bare"),
        _prompt("one nurse", "nurse", "portrait"),
        _prompt("a cook", "cook", "bare"),
        _prompt("a calm clerk", "clerk", category="calm"),
        _prompt("an angry clerk", "clerk", category="angry"),
        _prompt("die Ärztin", "doctor", form="feminine"),
        _prompt("der Arzt", "doctor", form="masculine"),
        _prompt("a tall man", "person", stated={"gender": "male", "race4": "Black"}),
        _prompt("a tall woman", "person", stated={"gender": "female", "race4": "Black"}),
        _prompt("one and the same", "twin"),
        _prompt("the same as one", "twin"),
        _prompt("no subject", ""),
        _prompt("odd", "nurse (bare)"),
        _prompt("eine Pflegerin", "Pflegerin", concept="nurse"),
        _prompt("ein Koch", "Koch", "bare", concept="cook"),
        _prompt("der Koch", "Koch", "portrait", concept="cook"),
        _prompt("a calm pilot", "calm pilot", concept="pilot"),
    ]
    assert of_prompts(asked) == [
        *("a nurse", "nurse (portrait)", "cook", "clerk (calm)", "clerk (angry)", "doctor (feminine)"),
        *("doctor (masculine)", "person (male Black)", "person (female Black)", "one and the same", "the same as one"),
        *("no subject", "odd", "Pflegerin (nurse)", "Koch (cook, bare)", "Koch (cook, portrait)", "calm pilot"),
    ]


def test_no_two_prompts_of_a_shipped_task_have_one_name() -> None:
    for task in catalog.find("tasks"):
        names = of_prompts(prompts.expand(catalog.load_task(task).card))
        assert len(set(names)) == len(names), task


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "a (t)", "x1"]), st.sampled_from(["t", "u"])), max_size=12))
def test_names_differ_whatever_the_subjects_are(asked: list[tuple[str, str]]) -> None:
    made = [_prompt(f"x{i}", subject, template) for i, (subject, template) in enumerate(asked)]
    names = of_prompts(made)
    assert len(set(names)) == len(names) and all(names)
