"""What an audit prints: the verdicts first, then the numbers behind them, then what cannot be concluded."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fairbench.audit import verdict
from fairbench.audit.estimates import Estimate, Skipped
from fairbench.audit.run import Audit
from fairbench.audit.understanding import CONDITIONS
from fairbench.report.rundir import LABEL_NOTE

COLOURS = {"biased": "red", "neutral": "green", "reads": "green", "answers unknown": "green", "no bias found": "green"}


def show(found: Audit, folder: Path, console: Console) -> None:
    """Print the report."""
    plan = found.plan
    names = f"{plan.card.name} · {plan.task} ({len(plan.prompts)} prompts) · labelled by {plan.labeller.card.name}"
    console.print(f"Audit of {names}", style="bold", highlight=False)
    table = _table("", ("component", "finding", "evidence"))
    for v in verdict.verdicts(found):
        table.add_row(v.component, f"[{COLOURS.get(v.finding, 'yellow')}]{v.finding}[/]", escape(v.words))
    console.print(table)
    _encoder(found, console)
    _tokenizer(found, console)
    _language(found, console)
    _understanding(found, console)
    console.print("What cannot be concluded", style="bold")
    for sentence in verdict.caveats(found):
        console.print(f"- {sentence}", style="yellow", highlight=False, markup=False)
    console.print(LABEL_NOTE, style="dim", highlight=False)
    console.print(f"report in {folder}", highlight=False, soft_wrap=True)


def _encoder(found: Audit, console: Console) -> None:
    if isinstance(found.encoder, Skipped) or not found.encoder.probes:
        return
    title = (
        f"Vision encoder: linear probe of {found.probe_images}; null: shuffled labels; a pair: two classes told apart, "
        "on average"
    )
    table = _table(title, ("attribute", "chance", "null", "accuracy", "F1", "a pair", "pair F1"))
    for p in found.encoder.probes:
        values = [_of(p.accuracy, 2), f"{p.macro_f1.value:.3f}", _of(p.pairwise, 2), f"{p.pairwise_f1.value:.3f}"]
        table.add_row(p.attribute, f"{p.chance:.2f}", f"{p.shuffled.value:.2f}", *values)
    console.print(table)


def _tokenizer(found: Audit, console: Console) -> None:
    if isinstance(found.tokenizer, Skipped):
        return
    title = (
        "Image tokenizer: read alike before and after (intervals hold for all groups at once); right: read as what "
        "they were given for, before and after"
    )
    table = _table(title, ("attribute", "group", "faces", "alike", "face lost", "right"))
    for part in found.tokenizer:
        for i, g in enumerate(part.groups):
            right = f"{g.right_before.value:.3f}, {g.right_after.value:.3f}"
            table.add_row(
                "" if i else part.attribute, g.label, str(g.faces), _of(g.agreement, 2), _of(g.lost, 2), right
            )
    console.print(table)


def _language(found: Audit, console: Console) -> None:
    part = found.language
    table = _table(
        f"Language model, tokens: JSD of neutral and group prompts, {part.divergences[0].a_side} images a side, less "
        "that of two neutral sets (null); is the closest group the majority of the neutral images?",
        ("attribute", "JSD", "null", "excess", "closest = majority", "chance", "unclear"),
    )
    for d in part.divergences:
        span = sorted(g.excess.value for g in d.groups)
        table.add_row(
            d.attribute, d.kind.split("-")[0], f"{d.null.value:.2f}", f"{span[0]:.2f} to {span[-1]:.2f}",
            _of(d.hits, 2), f"{d.chance:.2f}", str(d.ambiguous),
        )  # fmt: skip
    console.print(table)
    table = _table(
        "Language model, log-probabilities: RD, what error makes of equal shares (chance), RD by labels, distance of "
        "the shares from the labels', sum of the unscaled shares (1 if the premise holds), prompts that are followed",
        ("attribute", "RD", "chance", "labels", "distance", "sum", "followed"),
    )
    for b in part.log_probs:
        table.add_row(
            b.attribute, _of(b.rd), f"{b.floor:.3f}", _or_dash(b.labelled_rd), _or_dash(b.distance), f"{b.closure:.2f}",
            f"{part.following[b.attribute].value:.3f}",
        )  # fmt: skip
    console.print(table)


def _understanding(found: Audit, console: Console) -> None:
    part = found.understanding
    if isinstance(part, Skipped):
        return
    samples = part.answers[0].samples
    table = _table(
        f"Understanding: gender of an occupation, {samples} answers each; gap: generation RD less |M - F|",
        ("shown", "male", "female", "unknown", "other", "|M - F|", "gap"),
    )
    for a in part.answers:
        rates = [f"{a.shares[k].value:.2f}" for k in ("male", "female", "unknown", "other")]
        gap = part.alignment[a.condition]
        shown = "blank" if a.condition == CONDITIONS[0] else "none"
        table.add_row(shown, *rates, _of(a.gap, 2), "none" if gap is None else _of(gap, 2))
    console.print(table)
    chance = " and ".join(f"{a.gap_floor:.3f}" for a in part.answers)
    console.print(f"|M - F| of a fair model that commits as often: {chance}", style="dim", highlight=False)
    table = _table(
        "Understanding: answers that change with the group shown, and between two images of one group",
        ("attribute", "about", "between groups", "within a group", "most common"),
    )
    for f in part.flips:
        table.add_row(f.attribute, f.about, _of(f.between), _of(f.within), escape(f.most_common[:24]))
    console.print(table)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title or None, title_justify="left")
    for name in columns:
        table.add_column(name, no_wrap=name in {"component", "attribute"})
    return table


def _of(e: Estimate, digits: int = 3) -> str:
    if not e.n:
        return "none"
    if isnan(e.low):
        return f"{e.value:.{digits}f}"
    spaced = "\u00a0"  # an interval stays on its line
    return f"{e.value:.{digits}f}{spaced}\\[{e.low:.{digits}f},{spaced}{e.high:.{digits}f}]"


def _or_dash(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
