"""The short form of a comparison: a row per primary attribute, and what may be said, each sentence in its scope."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

from rich.console import Console

from fairbench.cards.cards import RESERVED
from fairbench.comparison import assumption, wordings, wrappers
from fairbench.comparison.compare import RunComparison
from fairbench.comparison.effects import MIN_FACES_PER_PROMPT
from fairbench.comparison.ranks import Half
from fairbench.comparison.sides import QUOTA
from fairbench.comparison.verdicts import CONCENTRATION, RD, ROOT, TOTAL_VARIATION, Row
from fairbench.display.labels import expanded, spaced
from fairbench.display.numbers import number, p_value, span, with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers
from fairbench.stats import gaffke

_MAX_GAPS = 3
_CLAIMS = ((ROOT, "equally concentrated", ""), (TOTAL_VARIATION, "the same groups drawn", " of the images"))
"""Estimand of each claim, the claim, and what its limit is in."""


def show(result: RunComparison, console: Console) -> None:
    """Print the table, the sentences, and the ranks of three runs or more."""
    _table(result).show(console)
    for sentence in filter(None, _sentences(result)):
        say(console, sentence)
    if result.rankings:
        _ranks(result).show(console)
    if result.selection is not None:
        say(console, _winner(result))
    for note in _notes(result):
        say(console, f"{note}", lead="note: ")


def _table(result: RunComparison) -> Table:
    """Return the concentration of the primary attributes of every run against the baseline."""
    several, baseline = result.variants > 1, result.sides[0].letter
    other = "run" if several else result.sides[1].letter
    heads = numbers(baseline, other, f"{other} - {baseline} [{100 * (1 - result.alpha):g} %]", "p")
    title = f"Concentration (0 even, 1 one group), this list of {_count(result.n_prompts, 'common prompt')}"
    table = Table([Column("attribute", wraps=True), *heads, Column("verdict", wraps=True)], title, _caption(result))
    for row in _of(result, CONCENTRATION):
        name = f"{spaced(row.attribute)} {row.run}" if several else spaced(row.attribute)
        effect = with_interval(row.effect, row.low, row.high)
        table.add(name, number(row.a), number(row.b), effect, p_value(row.p_adjusted), row.verdict)
    return table


def _caption(result: RunComparison) -> str:
    left_out = sum(side.n_left_out for side in result.sides)
    tests = sum(not math.isnan(row.p) for row in _of(result, CONCENTRATION))
    prompts = f"{_count(left_out, 'prompt')} that not all runs have are left out. " if left_out else ""
    of = "" if result.variants == 1 else f" of {result.variants} variants"
    adjusted = f"p: for {_count(tests, 'test')} (Holm){of}, not for variants that are not here. " if tests else ""
    return f"{prompts}{adjusted}{result.registered_words}"


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'' if number_of == 1 else 's'}"


def _of(result: RunComparison, estimand: str, scope: str = "this list", run: str | None = None) -> list[Row]:
    """Return the rows of one estimand of the primary attributes, in the order of the attributes."""
    rows = [r for r in result.rows if (r.estimand, r.scope) == (estimand, scope) and run in (None, r.run)]
    return [r for name in result.primary for r in rows if r.attribute == name]


def _sentences(result: RunComparison) -> Iterator[str]:
    baseline = result.sides[0].letter
    for side in result.sides[1:]:
        who = f"{side.letter}: " if result.variants > 1 else ""
        rows = [r for r in result.rows if r.run == side.letter and r.scope == "this list"]
        different = {r.attribute for r in _of(result, CONCENTRATION, run=side.letter) if r.p_adjusted <= result.alpha}
        claims = (
            (words, _claim(_of(result, estimand, run=side.letter), result.alpha, unit, different))
            for estimand, words, unit in _CLAIMS
        )
        claimed = "; ".join(f"{words}: {claim}" for words, claim in claims if claim)
        yield f"{who}On this list, {claimed}." if claimed else ""
        yield f"{who}{_other_prompts(result, baseline, side.letter)}"
        yield f"{who}{_quality(rows)}{_directions(rows, result.alpha)}"
    if result.wrappers is not None:
        yield from wrappers.sentences(result.wrappers)
    yield from wordings.sentences(result.orders)
    if result.second is not None:
        yield _second(result, result.second)
    yield _relative_diversity(result)
    yield assumption.sentence(result.tipping)


def _claim(rows: Sequence[Row], alpha: float, unit: str, different: Collection[str]) -> str:
    """Return for which attributes an equivalence is shown, and within what margin; else how large it may be.

    Nothing is said of attributes whose concentration is shown to differ, unless the claim holds nonetheless.
    """
    shown, others = dict[float, list[str]](), []
    for row in rows:
        name, largest = spaced(row.attribute), max(abs(row.low), abs(row.high))
        if row.p_equivalence_adjusted <= alpha:
            shown.setdefault(row.margin, []).append(name)
        elif row.attribute not in different and not math.isnan(row.p_equivalence):
            others.append(f"{name} (up to {number(largest, 2)}{unit})" if math.isfinite(largest) else name)
    parts = [f"{', '.join(names)} within {number(margin, 2)}" for margin, names in shown.items()]
    parts += [f"not shown for {', '.join(others)}"] if others else []
    return ", ".join(parts)


def _other_prompts(result: RunComparison, baseline: str, run: str) -> str:
    rows = _of(result, CONCENTRATION, "other prompts", run)
    known = [r for r in rows if math.isfinite(r.low)]
    if not known:
        reasons = dict.fromkeys(r.reason or "there is no interval" for r in rows)
        if gaffke.TOO_FEW in reasons:
            reasons = {gaffke.TAKES: None}
        return f"Of other prompts nothing is said: {'; '.join(reasons)}."
    limits = (f"{spaced(r.attribute)} {number(r.low, 2)} to {number(r.high, 2)}" for r in known)
    return f"Other prompts, if these were a random sample of them: {run} - {baseline} of {', '.join(limits)}."


def _second(result: RunComparison, second: RunComparison) -> str:
    """Return what another labeller of the same images says, beside the first."""
    first_verdicts = {(r.attribute, r.run): r.verdict for r in _of(result, CONCENTRATION)}
    parts = []
    for row in _of(second, CONCENTRATION):
        name = f"{spaced(row.attribute)} {row.run}" if result.variants > 1 else spaced(row.attribute)
        same = first_verdicts.get((row.attribute, row.run)) == row.verdict
        effect = with_interval(row.effect, row.low, row.high)
        parts.append(f"{name} {effect}, {'the same verdict' if same else row.verdict}")
    labeller = second.sides[0].run.record.labeller.name
    return f"Read by {labeller} instead, the same images on this list: {'; '.join(parts)}. Neither is the truth."


def _quality(rows: Sequence[Row]) -> str:
    """Return what became of quality on this list; empty where nothing was measured."""
    measured = [r for r in rows if r.attribute in RESERVED]
    words = (f"{r.estimand} {number(r.a)} and {number(r.b)}, {r.verdict}" for r in measured)
    return f"Quality on this list: {'; '.join(words)}. " if measured else ""


def _directions(rows: Sequence[Row], alpha: float) -> str:
    """Return a sentence on the signed gaps that differ."""
    gaps = [r for r in rows if r.estimand.startswith("gap[")]
    differing = sorted((r for r in gaps if r.p_adjusted <= alpha), key=lambda r: -abs(r.effect))
    largest = [(r.estimand[4:-1], number(100 * r.effect, 1, sign=True)) for r in differing[:_MAX_GAPS]]
    listed = ", ".join(f"{label} {points}" for label, points in largest)
    of_all = f"{len(differing)} of {len(gaps)} signed gaps differ"
    lean = f"{listed} points ({of_all})" if differing else of_all
    return f"Which way, exploratory: {lean}."


def abbreviations(result: RunComparison) -> str:
    """Return what abbreviated labels stand for."""
    return expanded(row.estimand[4:-1] for row in result.rows if row.estimand.startswith("gap["))


def _relative_diversity(result: RunComparison) -> str:
    rows = _of(result, RD)
    several = result.variants > 1
    values = (f"{spaced(r.attribute)}{f' {r.run}' if several else ''} {number(r.a)}, {number(r.b)}" for r in rows)
    verdicts = [f"{spaced(r.attribute)} {r.verdict}" for r in rows if r.claim is not None]
    claims = f" {'; '.join(verdicts)}." if verdicts else ""
    return f"RD at equal n: {'; '.join(values)}.{claims}"


def _ranks(result: RunComparison) -> Table:
    title = "ranks by concentration on this list, 1: least concentrated (in brackets: what the data allow)"
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
        f"{selection.chosen.n_prompts} prompts of this list: {_half(selection.chosen)} against "
        f"{result.sides[0].letter}, which flatters it; judged on the other {selection.judged.n_prompts}: "
        f"{_half(selection.judged)}."
    )


def _half(half: Half) -> str:
    limits = span(half.low, half.high)
    tested = f" [{limits}], p {p_value(half.p)}" if limits else " (no test)"
    return f"{number(half.effect, sign=True)}{tested}"


def _notes(result: RunComparison) -> list[str]:
    most = max((r.left_out for r in result.rows if r.estimand == RD), default=0)
    notes = [f"{s.letter}: {QUOTA}; what rests on this list alone is withheld." for s in result.sides if s.quota]
    if most:
        notes += [f"RD leaves out up to {most} prompts in which a run has fewer than {MIN_FACES_PER_PROMPT} faces."]
    untested = [r for r in _of(result, CONCENTRATION) if math.isnan(r.p) and r.reason != QUOTA]
    notes += [
        f"{reason}." for reason in dict.fromkeys(r.reason or "a difference could not be tested" for r in untested)
    ]
    return notes + result.notes
