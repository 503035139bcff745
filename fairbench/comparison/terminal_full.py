"""The long form of a comparison: every effect of the primary attributes, in both scopes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from fairbench.cards.cards import RESERVED
from fairbench.comparison.compare import RunComparison
from fairbench.comparison.verdicts import CONCENTRATION, RD, ROOT, TOTAL_VARIATION, Row
from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value, span
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers

CAPTION = (
    "Means over the common prompts, effects with {level:g} % intervals. root-concentration: square root of the mean "
    "concentration, in shares of images, with one-sided limits. total-variation: the share of images that show other "
    "groups, at most, with its upper limit. rd@n0: RD at the smaller face count of the two runs in each prompt. p: for "
    "this list, normal, over images; Holm over concentration of {primary} ({tests} tests), Benjamini-Hochberg over all "
    "others, which are exploratory. Other prompts: if this list were a random sample of them, Gaffke's interval, no p; "
    "of corrected values it is conditional on the table, with the calibration's error added. Margins: {margins}."
)
_ESTIMANDS = (CONCENTRATION, f"{CONCENTRATION} corrected", ROOT, TOTAL_VARIATION, RD)
_LABELS = {f"{CONCENTRATION} corrected": "  corrected"}
"""Estimates that stand below what they correct."""


def show(result: RunComparison, console: Console) -> None:
    """Print a table per run and what its columns are."""
    baseline, *variants = result.sides
    for side in variants:
        say(console, f"{side.letter} against {baseline.letter}: {result.pairing[side.letter]}.")
        rows = [r for r in result.rows if r.run == side.letter]
        _effects(rows, result.primary, baseline.letter, side.letter).show(console)
    caption = CAPTION.format(
        level=100 * (1 - result.alpha),
        tests=sum(r.family == "primary" for r in result.rows),
        margins=result.margins.source,
        primary=", ".join(map(spaced, result.primary)),
    )
    say(console, caption, "dim")


def _effects(rows: Sequence[Row], primary: Sequence[str], baseline: str, letter: str) -> Table:
    """Return the table of one run: the primary attributes, then quality. Single gaps are in the CSV."""
    heads = numbers(baseline, letter, f"{letter} - {baseline}", "this\nlist", "other\nprompts", "p")
    columns = [Column("attribute"), Column("estimate"), *heads, Column("verdict", wraps=True)]
    table = Table(columns, grouped=True)
    row_of = {(r.attribute, r.estimand, r.scope): r for r in rows}
    quantities = [(attribute, estimand) for attribute in primary for estimand in _ESTIMANDS]
    quantities += [(r.attribute, r.estimand) for r in rows if r.attribute in RESERVED]
    previous = ""
    for attribute, estimand in dict.fromkeys(quantities):
        row = row_of.get((attribute, estimand, "this list"))
        if row is None:
            continue
        other = row_of[attribute, estimand, "other prompts"]
        if previous and attribute != previous and previous not in RESERVED:
            table.section()
        name = "" if attribute == previous or attribute in RESERVED else spaced(attribute)
        previous = attribute
        values = number(row.a), number(row.b), number(row.effect)
        intervals = span(row.low, row.high), span(other.low, other.high)
        table.add(name, _LABELS.get(estimand, estimand), *values, *intervals, p_value(row.p_adjusted), row.verdict)
    return table
