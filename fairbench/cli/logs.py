"""What a command shows on stderr, so that stdout stays the result: notices, warnings and progress."""

from __future__ import annotations

import logging
import os

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.theme import Theme

from fairbench.display.plain import PlainFormatter
from fairbench.display.progress import Progress, reporter

_LEVELS = ("debug", "info", "warning", "error", "critical")
_THEME = Theme({f"logging.level.{level}": "bold" for level in _LEVELS} | {"logging.keyword": "bold", "log.time": "dim"})
"""No colours: which of them can be read depends on the reader's background."""


def start(quiet: bool = False, verbose: bool = False, *, silent: bool = False) -> Progress:
    """Set up logging on stderr and return what shows progress there. silent: as in `set_up_logging`."""
    console = Console(stderr=True, theme=_THEME)
    set_up_logging(console, verbose, silent=silent)
    return reporter(console, quiet)


def set_up_logging(console: Console, verbose: bool = False, *, silent: bool = False) -> None:
    """Show our notices (with -v: everything) on stderr, whatever -q says; other packages' warnings only with -v.

    silent: for a command whose one error says the same, or for all but one of several processes.
    """
    level = logging.DEBUG if verbose else logging.ERROR if silent else logging.WARNING
    handler = RichHandler(console=console, show_time=verbose, show_path=verbose, highlighter=NullHighlighter())
    handler.setFormatter(PlainFormatter("%(message)s"))
    ours = logging.getLogger("fairbench")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(level)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    if not verbose:  # they print every retry and every withheld image; notices say what that comes to
        for name in ("HF_HUB_VERBOSITY", "TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
            os.environ.setdefault(name, "error")
