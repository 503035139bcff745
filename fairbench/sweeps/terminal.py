"""What `fairbench sweep` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairbench.display.note import label_note
from fairbench.display.plain import say
from fairbench.sweeps import words
from fairbench.sweeps.design import Design
from fairbench.sweeps.result import Result

if TYPE_CHECKING:
    from rich.console import Console


def show(result: Result, design: Design, console: Console) -> None:
    """Print the arms, what they cost, and what follows."""
    words.arms_table(result).show(console)
    console.print()
    words.costs_table(result).show(console)
    for sentence in (*words.verdicts(result), *words.notes(result)):
        say(console, sentence)
    say(console, label_note("labeller"), "dim")
    say(console, f"page: {design.out / 'page.html'}")
