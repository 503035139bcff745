"""The things that an English text names: its words, without those that name no thing, in one number.

No dictionary and no parser: a rule that anybody can follow. It takes adjectives and verbs for things as well, and two
words for one thing for two; the same rule reads prompts and captions.
"""

from __future__ import annotations

import re
from typing import Final

_FUNCTION = """
a an the this that these those some any each every no another other others both all many much few more most several
one two three four five six seven eight nine ten
of in on at by for from to with without into onto over under above below behind beside between among through near next
around across along against about up down out off inside outside toward towards during after before as like than
and or but nor so yet if while when where who whom whose which what how why because though although
i you he she it we they me him her us them my your his its our their mine yours hers theirs himself herself itself
themselves someone something there here
is are was were be been being am do does did doing done has have had having can could may might must shall should will
would let seem seems appear appears look looks looking
wear wears wearing worn
not very too also just only quite rather
"""
_DEPICTION = """
photo photograph picture image portrait drawing painting illustration sketch rendering render shot close-up closeup
headshot snapshot scene view depiction foreground background show showing depicting draw
"""
_PEOPLE = "man woman boy girl child lady gentleman guy male female human individual people adult kid"
_IRREGULAR: Final = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "teeth": "tooth",
    "feet": "foot",
    "knives": "knife",
    "shelves": "shelf",
    "leaves": "leaf",
}
_KEPT: Final = frozenset({"glasses", "sunglasses", "scissors", "trousers", "pants", "jeans", "shorts", "clothes"})
"""Words that have no other number, or mean something else in it."""


def singular(word: str) -> str:
    """Return the singular of an English noun, by rule.

    >>> [singular(word) for word in ("nurses", "boxes", "ladies", "women", "glass", "bus", "glasses")]
    ['nurse', 'box', 'lady', 'woman', 'glass', 'bus', 'glasses']
    """
    if word in _KEPT or word in _IRREGULAR:
        return _IRREGULAR.get(word, word)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and re.search(r"[^siu]s$", word) else word


FUNCTION_WORDS: Final = frozenset(_FUNCTION.split())
DEPICTION: Final = frozenset(_DEPICTION.split())
"""What a text says of the picture instead of what it shows."""
PEOPLE: Final = frozenset(_PEOPLE.split())
"""Words for somebody of whom nothing else is said: all mean `person` where prompts and captions are compared."""
PERSON: Final = "person"


def things(text: str) -> frozenset[str]:
    """Return the things that a text names, in small letters and the singular.

    >>> sorted(things("A photo of two nurses in blue scrubs, near a doctor's bed"))
    ['bed', 'blue', 'doctor', 'nurse', 'scrub']
    """
    words = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", re.sub(r"['’](?:s\b)?", "", text.casefold()))
    named = {singular(word) for word in words if word not in FUNCTION_WORDS and len(word) > 1}
    return frozenset(named - DEPICTION - FUNCTION_WORDS)


def with_persons(words: frozenset[str]) -> frozenset[str]:
    """Return the things with one word, `person`, for people of whom nothing else is said."""
    return frozenset(PERSON if word in PEOPLE else word for word in words)
