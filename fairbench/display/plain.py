"""Text as it is printed: nothing in it is markup, and no character in it commands a terminal.

Labels, domains, names, paths, prompts, answers and error texts come from outside. All that a command prints goes
through here (`say`, `echo`, the cells of `tables`), so that `[/]` stays `[/]` and an escape sequence is seen.
"""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rich.console import Console

Style = Literal["", "bold", "dim", "reverse"]
"""How text may look. There are no colours, as none can be read on every background; words carry the meaning."""
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


def fitted(text: object, width: int, max_width: int | None = None) -> str:
    """Return the text as one line that takes at least `width` columns of a terminal, and at most `max_width`.

    What is cut ends in an ellipsis. Chinese characters and emoji take two columns, marks that combine none.
    """
    from rich.cells import cell_len, set_cell_size

    words = line(text)
    if max_width is not None and cell_len(words) > max_width:
        return f"{set_cell_size(words, max_width - 1).rstrip()}…"
    return words + " " * max(width - cell_len(words), 0)


def say(console: Console, text: str, style: Style = "", *, lead: str = "", wrap: bool = True) -> None:
    """Print a sentence in one style; wrap=False: its lines are as long as they are, for paths and commands.

    lead: what the sentence begins with, in bold, such as "note: ".
    """
    from rich.text import Text

    sentence = Text(style=style)
    sentence.append(shown(lead), "bold" if lead else "").append(shown(text))
    console.print(sentence, soft_wrap=not wrap)


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
