"""What a comparison of two labellers prints."""

from __future__ import annotations

from rich.console import Console

from fairbench.comparison.labellers import LabellerComparison
from fairbench.display.labels import expanded
from fairbench.display.numbers import number, p_value, percent, with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers

CAPTION = (
    "agree: share of faces with the same label. kappa: Cohen's, agreement beyond chance, 1 is full. p: Stuart-Maxwell "
    "test that both give every label equally often; where it is small, the choice of labeller shifts the shares. rd: "
    "mean over prompts, with the {level:g} % interval of its change for prompts like these. ranks: Spearman's "
    "correlation of the prompts' RD. Neither labeller is the truth."
)
_TOP = 3


def show_labellers(found: LabellerComparison, console: Console) -> None:
    """Print agreement, the most frequent disagreements, and what they do to RD and to the prompts' order."""
    a, b = (side.letter for side in found.sides)
    alone = ", ".join(f"{n} only in {letter}" for letter, n in found.alone.items())
    say(console, f"Two labellers on the same images: {found.matched} faces matched by {found.matched_by}; {alone}.")
    _table(found, a, b).show(console)
    say(console, f"Where they disagree ({a} > {b}):")
    for one in found.attributes:
        pairs = "; ".join(f"{t.first} > {t.second} {percent(t.share)}" for t in one.top[:_TOP])
        say(console, f"  {one.attribute.replace('_x_', ' x ')}: {pairs or 'nowhere'}")
    words = expanded(label for one in found.attributes for label in one.labels)
    if words:
        say(console, words, "dim")
    for reason in dict.fromkeys(one.reason for one in found.attributes if one.reason):
        names = ", ".join(one.attribute.replace("_x_", " x ") for one in found.attributes if one.reason == reason)
        say(console, f"note: {names}: {reason}", "yellow")
    if found.skipped:
        names = ", ".join(found.skipped)
        say(console, f"note: not compared, as the labellers do not share them: {names}", "yellow")


def _table(found: LabellerComparison, a: str, b: str) -> Table:
    heads = ("faces", "agree", "kappa", "p", f"rd {a}", f"rd {b}", f"{b} - {a}", "ranks")
    note = CAPTION.format(level=100 * (1 - found.alpha))
    table = Table([Column("attribute"), *numbers(*heads)], note=note)
    for one in found.attributes:
        stats = one.agreement
        table.add(one.attribute.replace("_x_", " x "), str(stats.n), number(stats.raw), number(stats.kappa),
                  p_value(stats.p_value), number(one.rd_a), number(one.rd_b),
                  with_interval(one.change, one.low, one.high), number(one.rank_correlation))  # fmt: skip
    return table
