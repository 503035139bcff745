"""What a comparison of two labellers prints."""

from __future__ import annotations

from rich.console import Console

from fairbench.comparison.labellers import LabellerComparison
from fairbench.display.labels import expanded, spaced
from fairbench.display.numbers import number, p_value, percent, with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers

CAPTION = (
    "agree: share of faces with the same label. kappa: Cohen's, agreement beyond chance, 1 is full. p: Stuart-Maxwell "
    "test that both give every label equally often; where it is small, the choice of labeller shifts the shares. {a}, "
    "{b}: mean concentration, with the {level:g} % interval of its change for other prompts. ranks: Spearman's "
    "correlation of the prompts' concentration. Neither labeller is the truth."
)
_MAX_DISAGREEMENTS = 3


def show(result: LabellerComparison, console: Console) -> None:
    """Print agreement, the most frequent disagreements, and what they do to concentration and to the prompts' order."""
    a, b = (side.letter for side in result.sides)
    unmatched = ", ".join(f"{n} only in {letter}" for letter, n in result.unmatched.items())
    matched = f"{result.matched} faces matched by {result.matched_by}"
    say(console, f"Two labellers on the same images: {matched}; {unmatched}.")
    _agreements(result, a, b).show(console)
    say(console, f"Where they disagree ({a} > {b}):")
    names_of = dict[str, list[str]]()
    for attribute in result.attributes:
        top = attribute.top[:_MAX_DISAGREEMENTS]
        pairs = "; ".join(f"{pair.first} > {pair.second} {percent(pair.share)}" for pair in top)
        say(console, f"  {spaced(attribute.attribute)}: {pairs or 'nowhere'}")
        if attribute.reason:
            names_of.setdefault(attribute.reason, []).append(spaced(attribute.attribute))
    abbreviations = expanded(label for attribute in result.attributes for label in attribute.labels)
    if abbreviations:
        say(console, abbreviations, "dim")
    for reason, names in names_of.items():
        say(console, f"{', '.join(names)}: {reason}", lead="note: ")
    if result.not_shared:
        not_shared = ", ".join(result.not_shared)
        say(console, f"not compared, as the labellers do not share them: {not_shared}", lead="note: ")


def _agreements(result: LabellerComparison, a: str, b: str) -> Table:
    heads = ("faces", "agree", "kappa", "p", a, b, f"{b} - {a}", "ranks")
    caption = CAPTION.format(level=100 * (1 - result.alpha), a=a, b=b)
    table = Table([Column("attribute"), *numbers(*heads)], note=caption)
    for row in result.attributes:
        agreed = row.agreement
        agreement = str(agreed.n), number(agreed.raw), number(agreed.kappa), p_value(agreed.p_value)
        change = with_interval(row.change, row.low, row.high)
        values = number(row.concentration_a), number(row.concentration_b), change
        table.add(spaced(row.attribute), *agreement, *values, number(row.rank_correlation))
    return table
