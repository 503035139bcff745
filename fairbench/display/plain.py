"""Text as it is printed: nothing in it is markup, and no character in it commands a terminal.

Labels, domains, names, paths, prompts, answers and error texts come from outside. All that a command prints goes
through here (`say`, `echo`, the cells of `tables`), so that `[/]` stays `[/]` and an escape sequence is seen.
"""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

_JOINERS: Final = "\u200c\u200d"
"""Format characters that words of several languages are spelt with; they move nothing."""
_ACTS: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of what is not seen but acts: control, format (right-to-left marks), surrogates, line ends."""
_SUSPECTS: Final = re.compile(r"[^\x20-\x7e\n\t]")


def shown(text: object) -> str:
    r"""Return the text with control and format characters written out; line breaks and tabs stay.

    >>> print(shown("a\x1b[31mb\u202ec"))
    a\x1b[31mb\u202ec
    """
    return _SUSPECTS.sub(lambda match: _written(match[0]), str(text))


def _written(character: str) -> str:
    if unicodedata.category(character) in _ACTS and character not in _JOINERS:
        return character.encode("unicode_escape").decode()
    return character


def line(text: object) -> str:
    """Return the text as one line: line breaks and tabs are written out too."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def say(console: Console, text: str, style: str = "", *, wrap: bool = True) -> None:
    """Print a sentence in one style; wrap=False: its lines are as long as they are, for paths and commands."""
    from rich.text import Text

    console.print(Text(shown(text), style), soft_wrap=not wrap)


def echo(text: str, *, err: bool = False) -> None:
    """Print a line as it is, to stdout or stderr."""
    import typer

    typer.echo(shown(text), err=err)


def echo_json(value: object) -> None:
    """Print a result as JSON; what is no finite number is null: JSON has no word for it."""
    from fairbench.display.json_values import plain

    echo(json.dumps(plain(value), indent=2, allow_nan=False))


class PlainFormatter(logging.Formatter):
    """Formats log records with their control characters written out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return shown(super().format(record))
