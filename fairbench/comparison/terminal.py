"""What a comparison prints: of runs, the few effects that count; of two labellers, how they agree."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from fairbench.cards.cards import RESERVED
from fairbench.comparison.compare import Result, RunComparison
from fairbench.comparison.effects import MIN_FACES_PER_PROMPT, QUOTA
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.ranks import Half
from fairbench.comparison.sides import Side
from fairbench.comparison.verdicts import Row
from fairbench.display.labels import expanded, spaced
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, p_value, percent, span, with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers

CAPTION = (
    "Means over the common prompts, effects with {level:g} % intervals. rd@n0: RD at the smaller face count of the two "
    "runs in each prompt; concentration: of the classes, 0 where they are equal and 1 where one stands alone, free of "
    "the chance floor. p: sign-flip test over prompts, adjusted: Holm over rd@n0 of {primary} ({tests} tests), "
    "Benjamini-Hochberg over all others, which are exploratory. Verdicts are "
    "for other prompts; equivalent and preserved are claims of their own, tested "
    "against the margins of {margins}. Everything is in compare.csv."
)
LABELLERS_CAPTION = (
    "agree: share of faces with the same label. kappa: Cohen's, agreement beyond chance, 1 is full. p: Stuart-Maxwell "
    "test that both give every label equally often; where it is small, the choice of labeller shifts the shares. rd: "
    "mean over prompts, with the {level:g} % interval of its change for other prompts. ranks: Spearman's "
    "correlation of the prompts' RD. Neither labeller is the truth."
)
_SCORES = ("rd@n0", "concentration", "concentration corrected")
_LABELS = {"concentration corrected": "  corrected"}
"""Estimates that stand below what they correct."""
_MAX_GAPS, _MAX_DISAGREEMENTS = 6, 3


def show(result: Result, folder: Path | None, console: Console) -> None:
    """Print the tables and where the files are, if anywhere."""
    _sides(result.sides).show(console)
    console.print()
    if isinstance(result, RunComparison):
        _show_runs(result, console)
    else:
        _show_labellers(result, console)
    say(console, LABEL_NOTE, "dim")
    if folder is not None:
        say(console, f"written to {folder}", wrap=False)


def _sides(sides: list[Side]) -> Table:
    columns = [Column(""), Column("run", wraps=True), Column("labeller", wraps=True), *numbers("images", "faces")]
    table = Table([*columns, Column("id")])
    for side in sides:
        name = f"{side.name} (quota)" if side.quota else side.name
        labeller, counts = side.run.record.labeller.name, side.run.counts
        totals = str(counts.images.sum()), str(counts.with_face.sum())
        table.add(side.letter, name, labeller, *totals, side.run.run_id[:8])
    return table


def _show_runs(result: RunComparison, console: Console) -> None:
    baseline, *variants = result.sides
    left_out = sum(side.n_left_out for side in result.sides)
    prompts = f"{result.n_prompts} common prompts"
    prompts += f"; {left_out} that not all runs have are left out" if left_out else ""
    unseen = "any that were tried and are not here are not accounted for."
    say(console, f"{prompts}. Variants compared: {result.variants}; {unseen}")
    for side in variants:
        rows = [r for r in result.rows if r.run == side.letter]
        say(console, f"{side.letter} against {baseline.letter}: {result.pairing[side.letter]}.")
        _effects(rows, result.primary, baseline.letter, side.letter).show(console)
        say(console, _directions(rows, result.alpha))
    caption = CAPTION.format(
        level=100 * (1 - result.alpha),
        tests=len(result.primary) * result.variants,
        margins=result.margins.source,
        primary=", ".join(map(spaced, result.primary)),
    )
    say(console, caption, "dim")
    if result.rankings:
        _ranks(result).show(console)
    if result.selection is not None:
        say(console, _winner(result))
    for note in _notes(result):
        say(console, f"note: {note}", "yellow")


def _effects(rows: list[Row], primary: list[str], baseline: str, letter: str) -> Table:
    """Return the table of one run: the primary attributes, then quality. Single gaps are in the CSV."""
    heads = numbers(baseline, letter, f"{letter} - {baseline}", "this\nlist", "other\nprompts", "p")
    columns = [Column("attribute"), Column("estimate"), *heads, Column("verdict", wraps=True)]
    table = Table(columns, grouped=True)
    row_of = {(r.attribute, r.estimand, r.scope): r for r in rows}
    quantities = [(attribute, score) for attribute in primary for score in _SCORES]
    quantities += [(r.attribute, r.estimand) for r in rows if r.attribute in RESERVED]
    previous = ""
    for attribute, estimand in dict.fromkeys(quantities):
        random = row_of.get((attribute, estimand, "other prompts"))
        if random is None:
            continue
        fixed = row_of[attribute, estimand, "this list"]
        if previous and attribute != previous and previous not in RESERVED:
            table.section()
        name = "" if attribute == previous or attribute in RESERVED else spaced(attribute)
        previous = attribute
        values = number(random.a), number(random.b), number(random.effect)
        intervals = span(fixed.low, fixed.high), span(random.low, random.high)
        test = p_value(random.p_adjusted), random.verdict
        table.add(name, _LABELS.get(estimand, estimand), *values, *intervals, *test)
    return table


def _directions(rows: list[Row], alpha: float) -> str:
    """Return a sentence on the signed gaps, which the table leaves out, that differ."""
    gaps = [r for r in rows if r.estimand.startswith("gap[") and r.scope == "other prompts"]
    differing = sorted((r for r in gaps if r.p_adjusted <= alpha), key=lambda r: r.p_adjusted)
    largest = [(r.estimand[4:-1], number(r.effect, sign=True)) for r in differing[:_MAX_GAPS]]
    gaps_shown = "; ".join(f"{label} {effect}" for label, effect in largest)
    more = f" and {len(differing) - _MAX_GAPS} more" if len(differing) > _MAX_GAPS else ""
    listed = f": {gaps_shown}{more}" if differing else ""
    sentence = f"Direction, exploratory: {len(differing)} of {len(gaps)} signed gaps differ{listed}."
    return f"{sentence} {expanded(label for label, _ in largest)}".rstrip()


def _ranks(result: RunComparison) -> Table:
    title = "ranks by rd@n0, 1: least biased (in brackets: what the data allow)"
    heads = numbers(*map(spaced, result.rankings))
    table = Table([Column("run", wraps=True), *heads], title)
    for i, side in enumerate(result.sides):
        ranks = result.rankings.values()
        cells = [f"{number(r.mean[i])}  {r.rank[i]} ({r.low[i]}-{r.high[i]})" for r in ranks]
        table.add(f"{side.letter} {side.name}", *cells)
    return table


def _winner(result: RunComparison) -> str:
    selection = result.selection
    assert selection is not None
    name = next(side.name for side in result.sides if side.letter == selection.winner)
    return (
        f"Winner by mean concentration of {spaced(selection.attribute)}: {selection.winner} ({name}), chosen on "
        f"{selection.chosen.n_prompts} prompts: {_half(selection.chosen)} against {result.sides[0].letter}, which "
        f"flatters it; judged on the other {selection.judged.n_prompts}: {_half(selection.judged)}."
    )


def _half(half: Half) -> str:
    limits = span(half.low, half.high)
    interval = f"[{limits}], " if limits else ""
    return f"{number(half.effect, sign=True)} {interval}p {p_value(half.p)}"


def _notes(result: RunComparison) -> list[str]:
    most = max((r.left_out for r in result.rows if r.estimand == "rd@n0"), default=0)
    notes = [f"{s.letter}: {QUOTA}; its intervals for this list are withheld." for s in result.sides if s.quota]
    if most:
        notes += [f"rd@n0 leaves out up to {most} prompts in which a run has fewer than {MIN_FACES_PER_PROMPT} faces."]
    if any(r.family == "primary" and math.isnan(r.p_adjusted) and r.reason is None for r in result.rows):
        notes.append("a primary effect could not be tested: no prompt has enough faces in both runs.")
    return notes + result.notes


def _show_labellers(result: LabellerComparison, console: Console) -> None:
    """Print agreement, the most frequent disagreements, and what they do to RD and to the prompts' order."""
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
        say(console, f"note: {', '.join(names)}: {reason}", "yellow")
    if result.not_shared:
        not_shared = ", ".join(result.not_shared)
        say(console, f"note: not compared, as the labellers do not share them: {not_shared}", "yellow")


def _agreements(result: LabellerComparison, a: str, b: str) -> Table:
    heads = ("faces", "agree", "kappa", "p", f"rd {a}", f"rd {b}", f"{b} - {a}", "ranks")
    caption = LABELLERS_CAPTION.format(level=100 * (1 - result.alpha))
    table = Table([Column("attribute"), *numbers(*heads)], note=caption)
    for row in result.attributes:
        agreed = row.agreement
        agreement = str(agreed.n), number(agreed.raw), number(agreed.kappa), p_value(agreed.p_value)
        change = with_interval(row.change, row.low, row.high)
        rd = number(row.rd_a), number(row.rd_b), change
        table.add(spaced(row.attribute), *agreement, *rd, number(row.rank_correlation))
    return table
