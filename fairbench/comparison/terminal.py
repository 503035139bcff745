"""What a comparison prints: the few effects that count, what is shown of them, and where the others are."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from fairbench.cards.cards import RESERVED
from fairbench.comparison.compare import Comparison
from fairbench.comparison.effects import LEAST_FACES, QUOTA
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.labellers_terminal import show_labellers
from fairbench.comparison.ranks import Half
from fairbench.comparison.sides import Side
from fairbench.comparison.verdicts import Row
from fairbench.display.labels import expanded
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, p_value, span
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers

CAPTION = (
    "Means over the common prompts, effects with {level:g} % intervals. rd@n0: RD at the smaller face count of the two "
    "runs in each prompt; sq: squared distance from balance, free of the chance floor. p: sign-flip test over prompts, "
    "adjusted: Holm over rd@n0 of {primary} ({tests} tests), Benjamini-Hochberg over all others, which are "
    "exploratory. Verdicts are for prompts like these; equivalent and preserved are claims of their own, tested "
    "against the margins of {margins}. Everything is in compare.csv."
)
_SCORES = ("rd@n0", "sq", "sq corrected")
_OTHERS = 6


def show(found: Comparison | LabellerComparison, folder: Path, console: Console) -> None:
    """Print the tables and where the files are."""
    _runs(found.sides, console)
    if isinstance(found, Comparison):
        _show_runs(found, console)
    else:
        show_labellers(found, console)
    say(console, LABEL_NOTE, "dim")
    say(console, f"written to {folder}", wrap=False)


def _runs(sides: list[Side], console: Console) -> None:
    columns = [Column(""), Column("run", wraps=True), Column("labeller", wraps=True), *numbers("images", "faces")]
    table = Table([*columns, Column("id")])
    for side in sides:
        counts, record = side.run.counts, side.run.record
        mark = " (quota)" if side.quota else ""
        table.add(side.letter, side.name + mark, record["labeller"]["name"], str(counts.images.sum()),
                  str(counts.with_face.sum()), side.run.run_id[:8])  # fmt: skip
    table.show(console)
    console.print()


def _show_runs(found: Comparison, console: Console) -> None:
    baseline = found.sides[0]
    alone = sum(side.alone for side in found.sides)
    left_out = f"; {alone} that not all runs have are left out" if alone else ""
    say(console, f"{found.n_prompts} common prompts{left_out}. Variants compared: {found.variants}; "
                 "any that were tried and are not here are not accounted for.")  # fmt: skip
    for side in found.sides[1:]:
        say(console, f"{side.letter} against {baseline.letter}: {found.pairing[side.letter]}.")
        _effects(found, side).show(console)
        _others(found, side, console)
    tests = len(found.primary) * found.variants
    primary = ", ".join(a.replace("_x_", " x ") for a in found.primary)
    level = 100 * (1 - found.alpha)
    say(console, CAPTION.format(level=level, tests=tests, margins=found.margins.source, primary=primary), "dim")
    if found.rankings:
        _ranks(found).show(console)
    _selection(found, console)
    for note in _notes(found):
        say(console, f"note: {note}", "yellow")


def _effects(found: Comparison, side: Side) -> Table:
    """Return the table of one run: the primary attributes, then quality. Single gaps are in the CSV."""
    baseline, mine = found.sides[0].letter, [r for r in found.rows if r.run == side.letter]
    effect = f"{side.letter} - {baseline}"
    columns = [Column("attribute"), Column("estimate"),
               *numbers(baseline, side.letter, effect, "these\nprompts", "prompts\nlike these", "p")]  # fmt: skip
    table = Table([*columns, Column("verdict", wraps=True)], grouped=True)
    names = [*((a, s) for a in found.primary for s in _SCORES), *((r.attribute, r.estimand) for r in mine
             if r.attribute in RESERVED)]  # fmt: skip
    by_scope = {(r.attribute, r.estimand, r.scope): r for r in mine}
    before = ""
    for attribute, estimand in dict.fromkeys(names):
        random = by_scope.get((attribute, estimand, "prompts like these"))
        if random is None:
            continue
        fixed = by_scope[attribute, estimand, "these prompts"]
        if before and attribute != before and before not in RESERVED:
            table.section()
        name = "" if attribute == before or attribute in RESERVED else attribute.replace("_x_", " x ")
        before = attribute
        table.add(name, estimand, number(random.a), number(random.b), number(random.effect),
                  span(fixed.low, fixed.high), span(random.low, random.high), p_value(random.p_adjusted),
                  random.verdict)  # fmt: skip
    return table


def _others(found: Comparison, side: Side, console: Console) -> None:
    """Name the exploratory effects, beyond the table, that stand out."""
    rest = [r for r in found.rows if r.run == side.letter and r.estimand.startswith("gap[")
            and r.scope == "prompts like these"]  # fmt: skip
    shown = sorted((r for r in rest if r.p_adjusted <= found.alpha), key=lambda r: r.p_adjusted)
    words = "; ".join(f"{r.estimand[4:-1]} {number(r.effect, sign=True)}" for r in shown[:_OTHERS])
    more = f" and {len(shown) - _OTHERS} more" if len(shown) > _OTHERS else ""
    named = f": {words}{more}" if shown else ""
    labels = expanded(r.estimand[4:-1] for r in shown[:_OTHERS])
    say(console, f"Direction, exploratory: {len(shown)} of {len(rest)} signed gaps differ{named}. {labels}".rstrip())


def _ranks(found: Comparison) -> Table:
    title = "ranks by rd@n0, 1: least biased (in brackets: what the data allow)"
    heads = numbers(*(ranking.attribute.replace("_x_", " x ") for ranking in found.rankings))
    table = Table([Column("run", wraps=True), *heads], title)
    for i, side in enumerate(found.sides):
        each = (r.ranks for r in found.rankings)
        cells = [f"{number(r.mean[i])}  {r.rank[i]} ({r.low[i]}-{r.high[i]})" for r in each]
        table.add(f"{side.letter} {side.name}", *cells)
    return table


def _selection(found: Comparison, console: Console) -> None:
    chosen = found.selection
    if chosen is None:
        return
    name = next(side.name for side in found.sides if side.letter == chosen.winner)
    what = chosen.attribute.replace("_x_", " x ")
    say(
        console,
        f"Winner by mean sq of {what}: {chosen.winner} ({name}), chosen on {chosen.chosen.n_prompts} prompts: "
        f"{_half(chosen.chosen)} against {found.sides[0].letter}, which flatters it; judged on the other "
        f"{chosen.judged.n_prompts}: {_half(chosen.judged)}.",
    )  # fmt: skip


def _half(half: Half) -> str:
    inside = span(half.low, half.high)
    return f"{number(half.effect, sign=True)} {f'[{inside}], ' if inside else ''}p {p_value(half.p)}"


def _notes(found: Comparison) -> list[str]:
    short = max((r.left_out for r in found.rows if r.estimand == "rd@n0"), default=0)
    notes = [f"{s.letter}: {QUOTA}; its intervals for these prompts are withheld." for s in found.sides if s.quota]
    if short:
        notes.append(f"rd@n0 leaves out up to {short} prompts in which a run has fewer than {LEAST_FACES} faces.")
    if any(math.isnan(r.p_adjusted) and r.reason is None for r in _primary(found)):
        notes.append("a primary effect could not be tested: no prompt has enough faces in both runs.")
    return notes + found.notes


def _primary(found: Comparison) -> list[Row]:
    return [r for r in found.rows if r.family == "primary"]
