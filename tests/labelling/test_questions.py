"""Closed questions: how they are put, how answers are read, and that nothing is asked twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from fairbench.cards import catalog
from fairbench.labelling import questions
from fairbench.labelling.questions import CANNOT_TELL, LETTERS, UNCLEAR, UNREAD, Interview, Question
from fairbench.types import RgbImage

GENDER = Question("How is the person presented?", ("female", "male"), {"female": ("a woman", "female", "woman")})
HAIR = Question("Which hair?", ("brown", "dark brown", "none"), {"none": ("no hair",)})
PLAIN = "{question}"


def picture(seed: int) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (8, 6 + seed % 3, 3), dtype=np.uint8)


class Says:
    """A judge that answers by a rule and keeps what it was asked."""

    def __init__(self, rule: object) -> None:
        self.rule, self.asked = rule, list[str]()

    def answer(self, texts: Sequence[str], images: Sequence[RgbImage | None], *, limit: int = 32) -> list[str]:
        self.asked += texts
        return [self.rule(text, image) for text, image in zip(texts, images, strict=True)]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("woman", 0),
        ("A woman.", 0),
        ("The person is FEMALE", 0),
        ("male", 1),
        ("female, not male", UNREAD),
        ("not male", UNREAD),
        ("It is not a woman", UNREAD),
        ("a woman or a male", UNREAD),
        ("females", UNREAD),
        ("", UNREAD),
        ("I cannot tell.", UNCLEAR),
        ("can\u2019t tell", UNCLEAR),
        ("unclear, maybe male", UNREAD),
        ("A", UNREAD),
        ("nurse", UNREAD),
    ],
)
def test_an_answer_in_words_is_read_and_never_guessed(answer: str, expected: int) -> None:
    assert questions.read(answer, GENDER, PLAIN, b"12345678") == expected


@pytest.mark.parametrize(
    ("answer", "expected"), [("dark brown", 1), ("brown", 0), ("no hair", 2), ("There is no hair", 2), ("no", UNREAD)]
)
def test_the_longest_wording_counts_and_a_no_of_its_own_is_no_negation(answer: str, expected: int) -> None:
    assert questions.read(answer, HAIR, PLAIN, b"12345678") == expected


def test_letters_stand_for_the_order_of_the_very_image() -> None:
    shown = ["a woman", "male", CANNOT_TELL]
    for image in (bytes([i]) * 8 for i in range(12)):
        text = questions.phrased(GENDER, LETTERS, image)
        lines = dict(line.split(". ") for line in text.splitlines()[1:-1])
        assert sorted(lines.values()) == sorted(shown) and list(lines) == ["A", "B", "C"]
        letter_of = {words: letter for letter, words in lines.items()}
        for words, code in zip(shown, (0, 1, UNCLEAR), strict=True):
            letter = letter_of[words]
            for answer in (
                letter,
                f"{letter}.",
                f"({letter.lower()})",
                f"{letter}. {words}",
                f"The answer is {letter}",
            ):
                assert questions.read(answer, GENDER, LETTERS, image) == code, (answer, text)
        assert questions.read(f"{letter_of['male']}. a woman", GENDER, LETTERS, image) == UNREAD
        assert questions.read("D", GENDER, LETTERS, image) == UNREAD
        assert questions.read("A woman is shown", GENDER, LETTERS, image) == 0  # an article is no letter


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("**", "**"), ("The correct answer is ", "."), ("Answer: (", ")"), ("\n", "\n\nA person, I think.")],
)
def test_one_letter_is_read_and_two_are_not(before: str, after: str) -> None:
    image = b"12345678"
    lines = dict(line.split(". ") for line in questions.phrased(GENDER, LETTERS, image).splitlines()[1:-1])
    letter_of = {words: letter for letter, words in lines.items()}
    male, other = letter_of["male"], letter_of["a woman"]
    assert questions.read(f"{before}{male}{after}", GENDER, LETTERS, image) == 1
    for second in (
        f" or {other}",
        f". or {other}",
        f". {other}: maybe",
        f". ({other})",
        f". Not {other.lower()}) a woman",
    ):
        assert questions.read(f"{before}{male}{second}", GENDER, LETTERS, image) == UNREAD, second


def test_the_shipped_card_reads_no_age_from_a_number_of_years() -> None:
    card = catalog.load_labeller("vqa").card
    asked = card.classifiers[0].params["questions"]["age3"]
    question = Question(asked["text"], tuple(card.attributes["age3"].labels), asked["answers"])
    for answer in ("She looks 25 years old", "a young woman", "about 40"):
        assert questions.read(answer, question, LETTERS, b"12345678") == UNREAD, answer
    assert questions.read("40 to 59", question, LETTERS, b"12345678") == 1


def test_every_order_comes_up_equally_often() -> None:
    seen = Counter(tuple(questions.order(GENDER, i.to_bytes(8))) for i in range(6000))
    assert len(seen) == 6
    assert max(abs(times - 1000) for times in seen.values()) < 4 * (6000 * 1 / 6 * 5 / 6) ** 0.5


def test_a_judge_that_always_takes_the_first_option_shows_no_preference() -> None:
    codes, unread = Interview(Says(lambda text, image: "A"), "first").ask([GENDER], [picture(i) for i in range(900)])
    shares = [float(np.mean(codes == code)) for code in (0, 1, UNCLEAR)]
    assert not unread and max(abs(share - 1 / 3) for share in shares) < 0.07


def test_what_is_asked_depends_on_the_image_alone_and_nothing_is_asked_twice() -> None:
    images = [picture(i) for i in range(7)]
    judge = Says(lambda text, image: text.splitlines()[1 + int(image.sum()) % 3])
    both, _ = Interview(judge, "one", batch=3).ask([GENDER, HAIR], images)
    assert len(judge.asked) == 14
    again, _ = Interview(judge, "one", batch=5).ask([HAIR, GENDER], images[::-1])
    assert len(judge.asked) == 14
    assert np.array_equal(again[::-1, ::-1], both)
    Interview(judge, "another").ask([GENDER], images)
    assert len(judge.asked) == 21


def test_answers_that_cannot_be_read_are_given_back() -> None:
    codes, unread = Interview(Says(lambda text, image: "a nurse"), "odd").ask([GENDER], [picture(1), picture(2)])
    assert codes.tolist() == [[UNREAD], [UNREAD]] and unread == ["a nurse", "a nurse"]


@pytest.mark.parametrize(
    ("text", "options", "wordings", "part"),
    [
        ("Who is {subject}?", ("a", "b"), {}, "braces"),
        ("Who?", ("a",), {}, "2 to 25"),
        ("Who?", ("a", "b"), {"a": ("x",), "b": ("X",)}, "change one"),
        ("Who?", ("a", "unclear"), {}, "change one"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(
    text: str, options: tuple[str, ...], wordings: dict[str, tuple[str, ...]], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        Question(text, options, wordings)
