"""What an audit prints: the verdicts first, then the numbers behind them, then what cannot be concluded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from fairbench.audit import caveats, verdict
from fairbench.audit.estimates import Estimate, Skipped
from fairbench.audit.run import Audit, LanguageModel
from fairbench.audit.tokens import KINDS
from fairbench.audit.transparency import Passage
from fairbench.audit.understanding import KINDS as KINDS_OF_ANSWERS
from fairbench.audit.understanding import MIN_COMMITTED, Answers
from fairbench.display.labels import expanded
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, with_interval
from fairbench.display.plain import line, say
from fairbench.display.tables import Cell, Column, Table

OTHER_IMAGES = "Brackets: 95 %, for other images like these."
OTHER_PROMPTS = "Brackets: 95 %, for other prompts, if these were a random sample of them"


def show(audit: Audit, folder: Path, console: Console) -> None:
    """Print the report."""
    spec = audit.plan
    names = f"{spec.card.name} · {spec.task} ({len(spec.prompts)} prompts) · labelled by {spec.labeller.card.name}"
    say(console, f"Audit of {names}", "bold")
    say(console, f"\nIn short: {verdict.summary(audit)}\n")
    table = Table([Column("component", wraps=True), Column("finding", wraps=True), Column("evidence", wraps=True)])
    for v in verdict.verdicts(audit):
        table.add(v.component, Cell(line(v.finding), "bold"), v.words)
    tables = [
        table,
        *_encoder(audit),
        *_tokenizer(audit),
        _divergences(audit.language),
        _hits(audit.language),
        _log_probs(audit.language),
        *_understanding(audit),
    ]
    for table in tables:
        table.show(console)
        console.print()
    say(console, "What cannot be concluded", "bold")
    for sentence in caveats.caveats(audit):
        say(console, f"- {sentence}")
    abbreviations = expanded(group.label for part in audit.language.divergences for group in part.groups)
    say(console, f"{LABEL_NOTE} {abbreviations}".rstrip(), "dim")
    say(console, f"report in {folder}", wrap=False)


def _encoder(audit: Audit) -> Iterator[Table]:
    if isinstance(audit.encoder, Skipped) or not audit.encoder.probes:
        return
    note = (
        f"Linear probe of {audit.probe_images}; predictions of images that training did not see. chance: the largest "
        f"class; labels shuffled: what the probe finds where there is nothing to find. {OTHER_IMAGES}"
    )
    for p in audit.encoder.probes:
        note += "" if p.balanced else f" {p.attribute} is not balanced: read its accuracy against chance."
    table = _table("Vision encoder", ("attribute", "classes"), ("chance", "accuracy", "macro F1"), note)
    for p in audit.encoder.probes:
        table.add(p.attribute, f"all {len(p.recall)}", _two(p.chance), _of(p.accuracy), _of(p.macro_f1))
        table.add("", "labels shuffled", "", _of(p.shuffled), "")
        if len(p.pairs) > 1:
            table.add("", f"{len(p.pairs)} pairs, mean", "", _of(p.pairwise), _of(p.pairwise_f1))
        worst = min(p.pairs, key=lambda pair: pair.accuracy.value)
        if worst.accuracy.value < p.pairwise.value:
            table.add("", f"{worst.first}, {worst.second}", "", _of(worst.accuracy), _of(worst.macro_f1))
    yield table


def _tokenizer(audit: Audit) -> Iterator[Table]:
    if isinstance(audit.tokenizer, Skipped):
        return
    alike = _table(
        "Image tokenizer: images encoded, decoded and labelled again",
        ("attribute", "group"),
        ("faces", "alike", "face lost", "others read so"),
        "Shares of the faces found before. alike: read as before; others read so: other groups' faces that become this "
        f"group. {OTHER_IMAGES} Those of both hold for all groups at once.",
    )
    right = _table(
        "Image tokenizer: against the labels that the images were given",
        ("attribute", "given"),
        ("images", "right\nbefore", "right\nafter", Column("most often\nwrong, after", wraps=True)),
        "What is wrong before is the labeller's error. All counts are in audit.json (against_given).",
    )
    for part in audit.tokenizer:
        for i, g in enumerate(part.groups):
            names = ("" if i else part.attribute, g.label)
            alike.add(*names, str(g.faces), _of(g.agreement, 2), _of(g.lost, 2), _of(g.arrivals, 2))
            rights = (number(g.right_before.value), number(g.right_after.value))
            right.add(*names, str(g.images), *rights, _most_often_wrong(part, i))
    yield from (alike, right)


def _most_often_wrong(part: Passage, group: int) -> str:
    """Return the wrong label that a group's images most often have after the tokenizer, and how often."""
    wrong = dict(zip([*part.labels, "no face"], part.against_given[group], strict=True))
    del wrong[part.labels[group]]
    name = max(wrong, key=lambda label: wrong[label])
    return f"{name}, {wrong[name]}" if wrong[name] else "none"


def _divergences(part: LanguageModel) -> Table:
    by_kind = {kind: [d for d in part.divergences if d.kind == kind] for kind in KINDS}
    nulls = ", ".join(f"{_two(divergences[0].null.value)} ({kind})" for kind, divergences in by_kind.items())
    table = _table(
        "Language model: tokens under the neutral prompt and under each group's",
        ("attribute", "group"),
        ("JSD", "excess", "by position", "log p\nper token"),
        f"JSD of token histograms in bits, {part.divergences[0].a_side} images per side. excess: less that of two "
        f"neutral sets, which is {nulls}; by position: the same of tokens place by place. log p per token: mean "
        "log-probability that the neutral prompt gives to the group's images, what BPO balances. "
        f"{OTHER_PROMPTS} (Student's t).",
    )
    for histogram, by_position, bias in zip(*by_kind.values(), part.log_probs, strict=True):
        for i, (pooled, placed) in enumerate(zip(histogram.groups, by_position.groups, strict=True)):
            table.add(
                "" if i else histogram.attribute,
                pooled.label,
                _two(pooled.jsd.value),
                _of(pooled.excess, 2),
                _of(placed.excess, 2),
                _two(bias.per_token[pooled.label].value),
            )
    return table


def _hits(part: LanguageModel) -> Table:
    table = _table(
        "Language model: is the group with the closest tokens the one drawn most?",
        ("attribute", "tokens"),
        ("share of prompts", "chance", "prompts", "left out"),
        f"left out: ambiguous, no group is clearly drawn most. {OTHER_PROMPTS} (Jeffreys' interval over prompts).",
    )
    for d in part.divergences:
        table.add(d.attribute, d.kind, _of(d.hits, 2), _two(d.chance), str(d.hits.n), str(d.ambiguous))
    return table


def _log_probs(part: LanguageModel) -> Table:
    table = _table(
        "Language model: bias by its own log-probabilities, no labeller",
        ("attribute",),
        ("RD", "chance", "by\nlabels", "sum,\nmiddle half", "followed"),
        "Brackets: 95 %, for this list of prompts, and for the error of drawing images alone, not that of the premise: "
        "no image fits two groups, and a group's prompt draws them as the neutral one does. chance: RD that this error "
        "makes of equal shares. by labels: RD of the labels of what is drawn. sum: of the unscaled shares, 1 where the "
        "premise holds (median, and the middle half of prompts). followed: images that show the group named.",
    )
    for b in part.log_probs:
        low, high = b.closure_quartiles
        closure = f"{_two(b.closure)} ({_two(low)}-{_two(high)})"
        followed = number(part.following[b.attribute].value)
        table.add(b.attribute, _of(b.rd), number(b.floor), number(b.labelled_rd), closure, followed)
    return table


def _understanding(audit: Audit) -> Iterator[Table]:
    part = audit.understanding
    if isinstance(part, Skipped):
        return
    first, floor = part.answers[0], verdict.alignment_floor(audit)
    fair = f" A fair generator makes up to {_two(floor)} of it by chance." if floor is not None else ""
    chance = " and ".join(number(a.gap_floor) for a in part.answers)
    table = _table(
        f"Understanding: the gender of an occupation, {first.subjects} occupations, {first.samples} answers each",
        ("share of all answers",),
        [a.condition for a in part.answers],
        f"|M - F|: mean over occupations; a fair model that commits as often has {chance}. RD of the committed: over "
        f"male and female alone, of occupations with {MIN_COMMITTED} such answers. gap: generation RD less "
        f"|M - F|, the partial alignment.{fair} Brackets, 95 %: of shares, for these occupations alone, their answers "
        "drawn again (Jeffreys); of |M - F| and gap, for other occupations, if these were a random sample of them "
        "(Student's t).",
    )
    for kind in KINDS_OF_ANSWERS:
        table.add(kind, *(_of(a.shares[kind]) for a in part.answers))
    table.add("|M - F|", *(_of(a.gap) for a in part.answers))
    table.add("RD of the committed", *(_committed(a) for a in part.answers))
    table.add("gap", *("none" if e is None else _of(e) for e in part.alignment.values()))
    yield table
    table = _table(
        "Understanding: pairs of images of one occupation; in how many does the answer differ?",
        ("attribute", "about"),
        ("two groups", "one group", Column("most common", wraps=True)),
        "two groups: from the same noise; one group: from other noise, which is the null. Brackets: 95 %, for these "
        "occupations alone (Jeffreys over pairs of images).",
    )
    for i, f in enumerate(part.flips):
        name = "" if i and part.flips[i - 1].attribute == f.attribute else f.attribute
        table.add(name, f.about, _of(f.between), _of(f.within), f.most_common[:24])
    yield table


def _committed(answers: Answers) -> str:
    if answers.committed_rd is None:
        return "none"
    return f"{number(answers.committed_rd)}, {answers.committed_subjects} occupations"


def _table(title: str, names: Sequence[str], values: Sequence[str | Column], note: str) -> Table:
    """Return a table whose first columns name a row. Of two such columns, the first names groups of rows."""
    columns = [head if isinstance(head, Column) else Column(head, number=True) for head in values]
    return Table([*map(Column, names), *columns], title, note, grouped=len(names) > 1)


def _two(value: float) -> str:
    return number(value, 2)


def _of(e: Estimate, places: int = 3) -> str:
    return with_interval(e.value, e.low, e.high, places) if e.n else "none"
