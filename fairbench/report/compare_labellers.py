"""What a comparison of two labellers prints."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fairbench.report.compare_numbers import number, p_value, span
from fairbench.stages.compare_labellers import LabellerComparison

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
    console.print(f"Two labellers on the same images: {found.matched} faces matched by {found.matched_by}; {alone}.",
                  highlight=False)  # fmt: skip
    console.print(_table(found, a, b))
    console.print(CAPTION.format(level=100 * (1 - found.alpha)), style="dim", highlight=False)
    console.print(f"Where they disagree ({a} > {b}):", highlight=False)
    for one in found.attributes:
        pairs = "; ".join(f"{t.first} > {t.second} {100 * t.share:.1f} %" for t in one.top[:_TOP])
        console.print(f"  {one.attribute.replace('_x_', ' x ')}: {pairs or 'nowhere'}", highlight=False, markup=False)
    if found.skipped:
        console.print(f"note: not compared, as the labellers do not share them: {', '.join(found.skipped)}",
                      style="yellow", highlight=False)  # fmt: skip


def _table(found: LabellerComparison, a: str, b: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("", no_wrap=True)
    for name in ("faces", "agree", "kappa", "p", f"rd {a}", f"rd {b}", f"{b} - {a}", "ranks"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.attributes:
        stats = one.agreement
        table.add_row(one.attribute.replace("_x_", " x "), str(stats.n), number(stats.raw), number(stats.kappa),
                      p_value(stats.p_value), number(one.rd_a), number(one.rd_b),
                      f"{number(one.change)} [{span(one.low, one.high)}]", number(one.rank_correlation))  # fmt: skip
    return table
