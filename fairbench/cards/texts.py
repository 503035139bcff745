"""Texts from outside: one Unicode form, texts that only look different, and characters that cannot be seen."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from fairbench.notices import notice

_JOINERS: Final = "\u200c\u200d"
_SCRIPTS: Final = (
    "ARABIC SYRIAC NKO MANDAIC MONGOLIAN DEVANAGARI BENGALI GURMUKHI GUJARATI ORIYA TAMIL TELUGU KANNADA MALAYALAM "
    "SINHALA TIBETAN MYANMAR KHMER BALINESE JAVANESE"
)
_JOINING_SCRIPTS: Final = frozenset(_SCRIPTS.split())
"""Scripts (the first words of their characters' names) in which a joiner decides how letters are written."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_VISIBLE_FORMATS: Final = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
"""Arabic and Syriac signs that are drawn, though their category says format character."""


def nfc(text: str) -> str:
    """Return the composed form: an accented letter is one character, however it was typed.

    >>> nfc("e\\u0301") == "\\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text)


def hidden_character(text: str, allow: str = "") -> str | None:
    """Return the name of the first character that cannot be seen, None where there is none; `allow` lists exceptions.

    Joiners may stand between letters of scripts that are written with them, and between emoji.

    >>> hidden_character("nurse\\u200b"), hidden_character("می\\u200cرود"), hidden_character("nurse")
    ('U+200B ZERO WIDTH SPACE', None, None)
    """
    for i, character in enumerate(text):
        if unicodedata.category(character) not in _HIDDEN or character in allow or character in _VISIBLE_FORMATS:
            continue
        if character in _JOINERS and 0 < i < len(text) - 1 and _joined(text[i - 1], text[i + 1]):
            continue
        return f"U+{ord(character):04X} {unicodedata.name(character, 'CONTROL CHARACTER')}"
    return None


def _joined(before: str, after: str) -> bool:
    """Whether a joiner between the two is a part of the text."""
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in (before, after)}
    if scripts <= _JOINING_SCRIPTS:
        return True
    return unicodedata.category(after) == "So" and (unicodedata.category(before) in {"So", "Sk"} or before == "\ufe0f")


def plain(text: str) -> str:
    """Return a card's text as it is. Raises ValueError for characters that cannot be seen, but line ends and tabs."""
    hidden = hidden_character(text, "\n\t")
    if hidden is not None:
        raise ValueError(f"it holds the character {hidden}, which cannot be seen; remove it")
    return text


def plain_name(text: str) -> str:
    """Return a label or name as it is. Raises ValueError as `plain` does, for a line end too, and for blanks around."""
    hidden = hidden_character(text)
    if hidden is not None:
        raise ValueError(f"it holds the character {hidden}, which cannot be seen; remove it")
    if text != text.strip() or not text:
        raise ValueError("it is empty, or begins or ends with a blank; fix it")
    return text


def near_form(text: str) -> str:
    """Return a form that is the same for texts that differ in blanks, case or Unicode form alone.

    >>> near_form(" A  Nurse") == near_form("a nurse")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def report_near_equal(texts: Iterable[str], origin: str) -> None:
    """Report prompts that differ in blanks, case or Unicode form alone: are they meant to be one?"""
    groups: dict[str, dict[str, None]] = {}
    for text in texts:
        groups.setdefault(near_form(text), {})[text] = None
    alike = [list(group) for group in groups.values() if len(group) > 1]
    if alike:
        count = sum(map(len, alike))
        examples = [" and ".join(map(repr, group)) for group in alike]
        text = f"{count} prompts of {origin} differ from another in blanks, case or Unicode form alone."
        notice("near-equal-prompts", text, count=len(alike), examples=examples)
