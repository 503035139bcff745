"""Closed questions about images: options in an order of each image's own, and no answer guessed.

A model tends to take the first option, or the letter A. So the order is drawn anew for every image and question, from
the image's pixels: the same image is always asked the same, whatever else is asked beside it, and over many images no
option gains by its place. An answer that names no option, or several, is UNREAD; one that says that the image does not
tell is UNCLEAR. Questions hold no prompt: what was asked for must not colour what is seen.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fairbench import keys
from fairbench.networks import textmodel, weights
from fairbench.types import RgbImage

UNCLEAR: Final = -1
"""The answer says that the image does not tell."""
UNREAD: Final = -2
"""The answer names no option, or more than one; also that of a service whose policy refuses the question."""
CANNOT_TELL: Final = "cannot tell"
_UNCLEAR_WORDS: Final = (
    CANNOT_TELL,
    "can't tell",
    "can not tell",
    "unclear",
    "unknown",
    "unsure",
    "not sure",
    "cannot be determined",
    "not visible",
)
LETTERS: Final = "{question}\n{options}\nAnswer with the letter of one option alone."
"""The usual form of a question, with its options under letters."""
MAX_OPTIONS: Final = 25
_LETTERED: Final = re.compile(
    r"\W*(?:(?:the )?(?:correct |best |right )?(?:answer|option|letter|choice)(?: is)?:? )?"
    r"\(?([A-Z])(?:[.):]|\W*?(?:\n|$))",
    re.IGNORECASE,
)
_ANOTHER_LETTER: Final = re.compile(r"(?<!\w)(?:(?:or|and|not) \(?[A-Z](?!\w)|\(?[B-Z][.):])|(?<!\w)A[):]")
"""What names a second option by its letter; `A.` may be an article at the end of a sentence that was cut."""
_NEGATION: Final = re.compile(r"\b(not|no|neither|nor|never|without)\b|n't\b")


class Judge(Protocol):
    """What answers questions; `protocols.UnderstandingModel` has the rest of the signature."""

    def answer(self, questions: Sequence[str], images: Sequence[RgbImage | None], *, limit: int = 32) -> list[str]:
        """Return one answer per question, of at most `limit` tokens, the most probable ones."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A closed question. options: the answers, in the declared order. wordings: option -> how it is shown and what else
    an answer may call it; the first wording is shown. An option without wordings stands for itself.
    """

    text: str
    options: tuple[str, ...]
    wordings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(self.options) > MAX_OPTIONS:
            raise ValueError(f"a question has 2 to {MAX_OPTIONS} options, this one has {len(self.options)}")
        if re.search(r"[{}]", self.text):
            raise ValueError("a question holds no prompt and nothing else that is filled in: remove the braces")
        seen: dict[str, str] = dict.fromkeys(_UNCLEAR_WORDS, CANNOT_TELL)
        for option in self.options:
            for word in self.words(option):
                if seen.setdefault(_plain(word), option) != option:
                    raise ValueError(f"{word!r} stands for {option!r} and for {seen[_plain(word)]!r}: change one")

    def words(self, option: str) -> tuple[str, ...]:
        """Return what an answer may call an option; the first is what is shown."""
        return self.wordings.get(option) or (option,)


def order(question: Question, image: bytes) -> list[int]:
    """Return the order of a question's options for an image, whose digest is given; the last index is CANNOT_TELL."""
    seed = keys.digest("options", [question.text, list(question.options), image.hex()])
    return [int(i) for i in np.random.default_rng(list(seed)).permutation(len(question.options) + 1)]


def phrased(question: Question, form: str, image: bytes) -> str:
    """Return the text that is asked. form: holds {question}, and {options} where they are shown, each on a line."""
    shown = [*(question.words(option)[0] for option in question.options), CANNOT_TELL]
    lines = [f"{letter}. {shown[i]}" for letter, i in zip(string.ascii_uppercase, order(question, image), strict=False)]
    return form.replace("{options}", "\n".join(lines)).replace("{question}", question.text)


def read(answer: str, question: Question, form: str, image: bytes) -> int:
    """Return the index of the option that an answer names, UNCLEAR or UNREAD."""
    places = order(question, image) if "{options}" in form else []
    answer = answer.strip()
    lettered = _LETTERED.match(answer)
    named = _named(answer if lettered is None else answer[lettered.end() :], question)
    if lettered is None or not places:
        return named if named is not None else UNREAD
    index = string.ascii_uppercase.index(lettered[1].upper())
    if index >= len(places):
        return UNREAD
    code = UNCLEAR if places[index] == len(question.options) else places[index]
    is_one = named in (None, code) and not _ANOTHER_LETTER.search(answer, lettered.end())
    return code if is_one else UNREAD


def _named(answer: str, question: Question) -> int | None:
    """Return which option an answer names in words; UNREAD where several, or one that is negated; None for none."""
    text = _plain(answer)
    words = [(_plain(w), UNCLEAR) for w in _UNCLEAR_WORDS]
    words += [(_plain(w), i) for i, option in enumerate(question.options) for w in {*question.words(option), option}]
    found: set[int] = set()
    left = text
    for word, code in sorted(words, key=lambda pair: -len(pair[0])):  # "dark brown" before "brown"
        left, times = re.subn(rf"(?<!\w){re.escape(word)}(?!\w)", " ", left)
        if times:
            found.add(code)
    if not found:
        return None
    if len(found) > 1:
        return UNREAD
    code = found.pop()
    first = re.sub(r"^(an?|the) ", "", re.split(r"[.,;:!\n]", text)[0].strip())
    alone = any(first == word for word, of in words if of == code)
    return code if alone or code == UNCLEAR or not _NEGATION.search(left) else UNREAD


def _plain(text: str) -> str:
    return " ".join(text.replace("\u2019", "'").casefold().split())


class Interview:
    """Asks a judge about images, and remembers on disk what it answered, so that nothing is asked, or paid, twice.

    identity: hex digits that stand for everything of the judge that can change an answer. The answers stand in the
    cache folder, `answers/<identity>.jsonl`, as they were given.
    """

    def __init__(self, judge: Judge, identity: str, *, limit: int = 16, batch: int = 16) -> None:
        self._judge, self._limit, self._batch = judge, limit, batch
        self._path = weights.cache_dir() / "answers" / f"{keys.digest('answers', [identity, limit]).hex()[:32]}.jsonl"
        self._known: dict[textmodel.Question, str] | None = None

    def answers(self, texts: Sequence[str], images: Sequence[RgbImage]) -> list[str]:
        """Return the answer to each text about the image beside it. Raises what the judge raises, and StoreError."""
        if self._known is None:
            self._known = textmodel.read(self._path)
        asked = [(text, int.from_bytes(digest(image))) for text, image in zip(texts, images, strict=True)]
        missing = {question: i for i, question in enumerate(asked) if question not in self._known}
        rows = sorted(missing.values(), key=lambda i: (images[i].shape, len(texts[i])))  # alike together: less padding
        for start in range(0, len(rows), self._batch):
            block = rows[start : start + self._batch]
            said = self._judge.answer([texts[i] for i in block], [images[i] for i in block], limit=self._limit)
            given = dict(zip((asked[i] for i in block), said, strict=True))
            textmodel.append(self._path, given)
            self._known.update(given)
        return [self._known[question] for question in asked]

    def ask(
        self, questions: Sequence[Question], images: Sequence[RgbImage], form: str = LETTERS
    ) -> tuple[NDArray[np.int64], list[str]]:
        """Return the answers (images, questions): an option's index, UNCLEAR or UNREAD; and those that are UNREAD."""
        digests = [digest(image) for image in images]
        texts = [phrased(question, form, d) for d in digests for question in questions]
        said = self.answers(texts, [image for image in images for _ in questions])
        codes = np.full((len(images), len(questions)), UNREAD, dtype=np.int64)
        unread = []
        for row, answer in enumerate(said):
            i, q = divmod(row, len(questions))
            codes[i, q] = read(answer, questions[q], form, digests[i])
            if codes[i, q] == UNREAD:
                unread.append(answer)
        return codes, unread


def digest(image: RgbImage) -> bytes:
    """Return eight bytes that stand for an image's pixels."""
    return hashlib.blake2b(f"{image.shape} ".encode() + image.tobytes(), digest_size=8).digest()
