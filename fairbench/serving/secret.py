"""The key of a service: read from the environment, sent in one header, and in nothing that is written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from fairbench.errors import FairbenchError

HIDDEN: Final = "[key]"
_NAMES: Final = re.compile(r"(api[_-]?key|key|(access[_-]?)?token|authorization|password|secret)", re.IGNORECASE)


def is_variable(name: str) -> bool:
    """Whether a text can be an environment variable's name: capitals, digits and `_`, which no key looks like."""
    return re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name) is not None


class Key:
    """A key, or none. It shows itself to nobody: its text and its pickle hold nothing."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def __repr__(self) -> str:
        return HIDDEN if self._text else "no key"

    def __reduce__(self) -> tuple[Any, ...]:
        return Key, ()

    def header(self, name: str) -> dict[str, str]:
        """Return the header that carries it; none without a key."""
        if not self._text:
            return {}
        return {name: f"Bearer {self._text}" if name == "authorization" else self._text}

    def hide(self, text: str) -> str:
        """Return what a server wrote without the key, which some servers repeat in their errors."""
        for form in self._forms():
            text = text.replace(form, HIDDEN)
        return text

    def hide_bytes(self, data: bytes) -> bytes:
        """`hide` of text that is not decoded yet."""
        for form in self._forms():
            data = data.replace(form.encode(), HIDDEN.encode())
        return data

    def occurs_in(self, data: bytes) -> bool:
        """Whether a file or a URL holds it."""
        return any(form.encode() in data for form in self._forms())

    def _forms(self) -> tuple[str, ...]:
        """Return the key as it may stand in a text: plain, and as part of a URL."""
        return tuple(dict.fromkeys((self._text, quote(self._text, safe="")))) if self._text else ()


def from_environment(variable: str | None) -> Key:
    """Return the key that an environment variable holds. Raises FairbenchError, which never repeats a value."""
    if variable is None:
        return Key()
    problem = _problem(os.environ.get(variable, "").strip(), variable)
    if problem is not None:  # raised where no variable of the frame holds the text
        raise FairbenchError(problem)
    return Key(os.environ[variable].strip())


def _problem(text: str, variable: str) -> str | None:
    if not text:
        return f"Set the environment variable {variable} to the service's key."
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        return (
            f"The environment variable {variable} holds what can be no key (blanks, line breaks or letters that are "
            "not ASCII): set it again."
        )
    return None


def named_in(fields: Any) -> Iterator[str]:
    """Yield the names, at any depth of a card's request fields, under which somebody would write a key."""
    if isinstance(fields, dict):
        for name, value in fields.items():
            if _NAMES.fullmatch(str(name)):
                yield str(name)
            yield from named_in(value)
    elif isinstance(fields, list):
        for value in fields:
            yield from named_in(value)
