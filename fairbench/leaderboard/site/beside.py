"""Published numbers beside measured ones of the same model and task, and how far apart chance alone would put them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from fairbench.display.labels import spaced
from fairbench.leaderboard.columns import ATTRIBUTES, Row
from fairbench.leaderboard.site.rows import Board, Entry, value
from fairbench.leaderboard.site.words import BADGES

_PLAIN_METHODS: Final = frozenset({"none", "baseline"})
"""What rows call a model as it is."""
_FACTS: Final = {
    "model": "model",
    "revision": "weights",
    "labeller": "labeller",
    "suite": "hash of the prompts",
    "prompts": "prompts",
    "images_per_prompt": "images per prompt",
    "n_faces": "faces",
}
"""Column -> what it is called where two rows do not share it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number that both rows have. published: as it was printed. interval: of 95 %, of the measured one.

    chance: how far apart two measurements would be at most, 19 times in 20, where only the images are drawn anew; None
    where no interval is known.
    """

    name: str
    published: str
    measured: float
    interval: tuple[float, float] | None
    chance: float | None

    @property
    def apart(self) -> float:
        """The distance of the two."""
        return abs(float(self.published) - self.measured)

    @property
    def reading(self) -> str:
        """What follows, in words."""
        if self.chance is None:
            return "no interval is known"
        return f"{'farther' if self.apart > self.chance else 'no farther'} apart than by chance"


@dataclass(frozen=True, slots=True)
class Pair:
    """A published row and a measured one of the same model, task and method. link: of the measured row's page.

    differs: what they do not share, or do not both state, with what each says.
    """

    published: Entry
    measured: Entry
    link: str
    numbers: tuple[Number, ...]
    differs: tuple[str, ...]


def pairs(published: Entry, boards: Sequence[Board]) -> Iterator[Pair]:
    """Yield a published row with each measured row of the same model, task and method."""
    stated = published.row
    for at in boards:
        for entry in (place[0] for group in at.measured for place in group):
            ours = entry.row
            methods = {ours["method"], stated["method"]}
            same_method = len(methods) == 1 or methods <= _PLAIN_METHODS
            if same_method and ours["task"] == stated["task"] and is_same_model(stated["model"], ours["model"]):
                numbers = tuple(_numbers(published, entry))
                yield Pair(published, entry, f"{at.folder}/{entry.folder}", numbers, tuple(_differs(stated, ours)))


def is_same_model(one: str, other: str) -> bool:
    """Whether names are of one model, but for their spelling, and for a size that only one of them states.

    >>> is_same_model("SD v1.5", "sd-v1-5"), is_same_model("Janus-Pro", "janus-pro-7b")
    (True, True)
    >>> is_same_model("Janus-Pro-1B", "janus-pro-7b"), is_same_model("Janus", "janus-pro-7b")
    (False, False)
    """
    first, second = (re.sub(r"[\W_]", "", name.casefold()) for name in (one, other))
    sized = (re.fullmatch(rf"{a}\d+b", b) for a, b in ((first, second), (second, first)))
    return bool(first and second) and (first == second or any(sized))


def _numbers(published: Entry, measured: Entry) -> Iterator[Number]:
    for attribute in ATTRIBUTES:
        for measure in ("rd", "concentration"):
            column = f"{attribute}.{measure}"
            ours = value(measured.row, column)
            if ours is None or value(published.row, column) is None:
                continue
            interval = _interval(measured, attribute, measure)
            text = published.row[column]
            theirs = _interval(published, attribute, measure) or interval  # papers state none: as if it were like ours
            chance = None if interval is None or theirs is None else _chance(text, interval, theirs)
            yield Number(f"{spaced(attribute)} {measure}", text, ours, interval, chance)


def _interval(entry: Entry, attribute: str, measure: str) -> tuple[float, float] | None:
    if measure == "rd":  # which has no columns of limits
        if entry.evidence is None or entry.badge is BADGES["differs"]:  # then it is of another number
            return None
        return entry.evidence.rd.get(attribute)
    low, high = (value(entry.row, f"{attribute}.{measure}.{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def _chance(text: str, ours: tuple[float, float], theirs: tuple[float, float]) -> float:
    """Return the reach of a 95 % interval of the difference, and what rounding adds: half of the last digit."""
    exponent = Decimal(text).as_tuple().exponent
    rounding = 0.5 * 10.0**exponent if isinstance(exponent, int) else 0.0
    return math.hypot(*((high - low) / 2 for low, high in (ours, theirs))) + rounding


def _differs(stated: Row, ours: Row) -> Iterator[str]:
    for column, words in _FACTS.items():
        if stated[column] != ours[column]:
            yield f"{words}: {stated[column] or 'not stated'} there, {ours[column] or 'not stated'} here"
