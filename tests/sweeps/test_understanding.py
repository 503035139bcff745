"""What a description names of its picture's prompt, and which pictures are described."""

from __future__ import annotations

from collections import Counter

import pytest

from fairbench.sweeps.understanding import evenly, named
from fairbench.types import ImageRequest, Prompt

LABELS = {"gender": ("female", "male"), "race4": ("WMELH", "Black", "Indian", "Asian")}


def _prompt(gender: str = "male", race: str = "WMELH", subject: str = "computer programmer") -> Prompt:
    stated = {"gender": gender, "race4": race}
    return Prompt(b"p", b"p", "task", 1, "t", "a text", subject, stated=stated)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("A White male computer programmer.", 1.0),
        ("a young man, a computer programmer; the man is White", 1.0),
        ("A white young man who is a programmer for computer games", 1.0),
        ("A man in a white shirt, a computer programmer", 2 / 3),  # the shirt is
        ("male or female, White man or Black man: a computer programmer", 1 / 3),  # all are listed
        ("White computer programmer, a woman and a man", 2 / 3),
        ("a male WMELH person", 2 / 3),  # as the phantom answers
        ("a Black man", 1 / 3),
        ("A White woman", 1 / 3),
        ("a man against a black background, White face", 2 / 3),
        ("", 0.0),
    ],
)
def test_a_group_is_named_where_no_other_is_and_of_a_person(answer: str, share: float) -> None:
    assert named(answer, _prompt(), LABELS) == pytest.approx(share)


def test_labels_of_several_words() -> None:
    labels = {"race7": ("East_Asian", "Southeast_Asian")}
    prompt = Prompt(b"p", b"p", "task", 1, "t", "a text", "nurse", stated={"race7": "East_Asian"})
    assert named("an East Asian nurse", prompt, labels) == 1.0
    assert named("a Southeast Asian nurse", prompt, labels) == 0.5


def _requests(prompts: int, each: int) -> list[ImageRequest]:
    ids = [bytes([p // 256, p % 256]) for p in range(prompts)]
    return [ImageRequest(bytes([i]) + p, p, p, "text", i, 0) for p in ids for i in range(each)]


def test_pictures_are_spread_over_all_prompts() -> None:
    chosen = evenly(_requests(30, 9), 0, 100)
    counts = Counter(request.neutral_id for request in chosen)
    assert (len(chosen), len(counts), set(counts.values())) == (100, 30, {3, 4})


def test_of_more_prompts_than_pictures_a_seed_draws() -> None:
    requests = _requests(1000, 2)
    one, same, other = (evenly(requests, seed, 100) for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert {request.sample_index for request in one} == {0}
    positions = [requests.index(request) for request in one]
    assert positions == sorted(positions)
    assert sum(position >= 1000 for position in positions) in range(30, 71)  # not the first ones


def test_fewer_requests_than_pictures_are_all_described() -> None:
    assert evenly(_requests(3, 2), 0) == _requests(3, 2)
