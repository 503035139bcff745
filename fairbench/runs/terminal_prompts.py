"""What is printed of the single prompts of a run: the worst, what other images say of them, and how many lean."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from fairbench.display.labels import spaced
from fairbench.display.note import SeenBy, label_note
from fairbench.display.numbers import number, p_value, span, with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers
from fairbench.runs.single_prompts import WORST, AttributeOfPrompts

NOTE = (
    "Concentration as read: 0 where the classes are equal, 1 where one stands alone. shrunk: drawn towards the other "
    "prompts, the further the fewer its faces (empirical Bayes), with an interval that covers on average over prompts. "
    "q: of the test that a fair model shows such faces, adjusted for the number of prompts (Benjamini-Hochberg). "
    "chosen, judged: on the half of a prompt's images that chose the worst, and on the other half."
)


def show(
    attributes: Sequence[AttributeOfPrompts], console: Console, read_by: SeenBy = "classifier", *, full: bool = False
) -> None:
    """Print a table per attribute. read_by: what gave the labels; full: all prompts, else the worst."""
    for each in attributes:
        _table(each, full).show(console)
        say(console, sentence(each))
        console.print()
    say(console, NOTE, "dim")
    say(console, label_note(read_by), "dim")


def sentence(each: AttributeOfPrompts) -> str:
    """Return what follows: the worst prompts' mean on other images, and how many prompts are shown to lean."""
    number_of_worst = min(WORST, each.tested)
    mean = each.worst(number_of_worst)
    chosen = (
        ""
        if number_of_worst == each.tested
        else (
            f"The {number_of_worst} worst of {each.tested} prompts have mean concentration "
            f"{with_interval(mean.estimate, mean.low, mean.high, 2)} on images that had no part in choosing them. "
        )
    )
    return f"{chosen}{each.leaning} of {each.tested} prompts are shown to lean (false discovery rate 5 %)."


def _table(each: AttributeOfPrompts, full: bool) -> Table:
    heads = numbers("faces", "raw", "shrunk", "95 %", "q", "chosen", "judged")
    words = Column("prompt", wraps=True), Column("leads", wraps=True)
    table = Table([*words, *heads], f"{spaced(each.attribute)}: single prompts, the worst first")
    for row in each.rows if full else each.rows[:WORST]:
        values = [number(row[name], 2) for name in ("raw", "shrunk")]
        limits, q = span(row["ci_low"], row["ci_high"], 2), p_value(row["q"])
        halves = [number(row[name], 2) for name in ("chosen", "judged")]
        leads = spaced(row["leads"])
        table.add(each.names[row["prompt"]], leads, str(row["n_faces"]), *values, limits, q, *halves)
    return table
