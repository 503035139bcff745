"""Text as it is printed: nothing in it is markup, and no character in it commands a terminal.

Labels, domains, names, paths, prompts, answers and error texts come from outside. All that a command prints goes
through here (`say`, `echo`, the cells of `tables`), so that `[/]` stays `[/]` and an escape sequence is seen.
"""

from __future__ import annotations

import logging
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

_JOINERS: Final = "\u200c\u200d"
"""Format characters that words of several languages are spelt with; they move nothing."""
_HIDDEN: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of what is not seen but acts: control, format (right-to-left marks), surrogates, line ends."""


def shown(text: object, keep: str = "\n\t") -> str:
    r"""Return the text with control and format characters written out; those in `keep` stay.

    >>> print(shown("a\x1b[31mb\u202ec"))
    a\x1b[31mb\u202ec
    """
    words = str(text)
    if words.isascii() and words.isprintable():
        return words
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in _HIDDEN and c not in keep and c not in _JOINERS
        else c
        for c in words
    )


def line(text: object) -> str:
    """Return the text as one line: line breaks and tabs are written out too."""
    return shown(text, keep="")


def say(console: Console, text: str, style: str = "", *, wrap: bool = True) -> None:
    """Print a sentence in one style; wrap=False: its lines are as long as they are, for paths and commands."""
    from rich.text import Text

    console.print(Text(shown(text), style), soft_wrap=not wrap)


def echo(text: str, *, err: bool = False) -> None:
    """Print a line as it is, to stdout or stderr."""
    import typer

    typer.echo(shown(text), err=err)


class PlainFormatter(logging.Formatter):
    """Formats log records with their control characters written out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return shown(super().format(record))
