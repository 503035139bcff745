"""What a run prints, from its folder alone: `run` and `show` say the same, in a short and in a full form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from rich.console import Console

from fairbench.display.labels import spaced
from fairbench.display.note import label_note
from fairbench.display.numbers import number, percent
from fairbench.display.plain import say
from fairbench.display.tables import Table
from fairbench.measure import composite
from fairbench.measure.quantities import THIS_LIST
from fairbench.measure.series import FACES, QUALITY
from fairbench.notices import Notice
from fairbench.runs import (
    evidence,
    headline,
    references,
    sections,
    terminal_composite,
    terminal_contrasts,
    terminal_following,
    terminal_headline,
    terminal_quality,
    terminal_sections,
    terminal_truth,
    terminal_wordings,
    verdict,
)
from fairbench.runs import terminal_tables as tables
from fairbench.runs.folder import RunFolder
from fairbench.runs.terminal_tables import Measured

_SUMMARY = (
    *("metric", "attribute", "estimate", "scope", "n0", "value", "ci_low", "ci_high", "ci_method", "error"),
    *("floor", "floor_p95", "ceiling", "calibration_sha", "reason"),
    *("n_prompts", "n_requested", "n_images", "n_faces", "n_excluded"),
)
"""Fields of the metrics table in a result for machines."""


def summary(run: RunFolder) -> dict[str, Any]:
    """Return the result for machines: verdicts, and every value of the task with its counts. Raises FairbenchError."""
    plain = run.record.model_dump(include={"statuses", "notices", "correction", "truth"})
    measured = Measured(run)
    return {
        "run_id": run.id,
        "folder": str(run.folder),
        "note": label_note(*run.seen_by),
        "statuses": plain["statuses"],
        "notices": plain["notices"],
        "verdicts": {
            each.attribute: {"finding": verdict.finding(each), "words": verdict.sentence(each)}
            for each in headline.of_run(measured)
        },
        "people": None if measured.people is None else measured.people.model_dump(),
        "metrics": [{name: row[name] for name in _SUMMARY} for row in measured.rows],
        "correction": plain["correction"],
        "truth": plain["truth"],
    }


def show(run: RunFolder, console: Console, *, full: bool = False) -> None:
    """Print a finished run. full: all of its estimates and metrics. Raises FairbenchError where the folder is damaged.

    PARTS says what each form has.
    """
    measured = Measured(run)
    _ = measured.rows  # what cannot be read is said before anything is printed
    for part in PARTS:
        if full or part.short:
            part.show(measured, console, full)


def _headline(measured: Measured, console: Console, _: bool) -> None:
    """Print the main table and what may be said: a verdict per attribute, other prompts, the literature's number."""
    headlines = headline.of_run(measured)
    terminal_headline.table(measured, headlines).show(console)
    for sentence in terminal_headline.sentences(headlines):
        say(console, sentence)


def _estimates(measured: Measured, console: Console, _: bool) -> None:
    console.print()
    _show_table(tables.estimates(measured), console)


def _people(measured: Measured, console: Console, _: bool) -> None:
    _show_table(tables.by_people(measured), console)


def _direction(measured: Measured, console: Console, _: bool) -> None:
    _show_table(tables.direction(measured), console)


def _contrasts(measured: Measured, console: Console, full: bool) -> None:
    if full:
        _show_table(terminal_contrasts.table(measured), console)
        return
    for sentence in terminal_contrasts.sentences(measured):
        say(console, sentence)


def _composite(measured: Measured, console: Console, full: bool) -> None:
    if full:
        _show_table(terminal_composite.table(measured), console)
        return
    for sentence in terminal_composite.sentences(measured):
        say(console, sentence)


def _wordings(measured: Measured, console: Console, full: bool) -> None:
    if full:
        _show_table(terminal_wordings.table(measured), console)
        return
    for sentence in terminal_wordings.sentences(measured):
        say(console, sentence)


def _categories(measured: Measured, console: Console, full: bool) -> None:
    """Print the sections by category; the evidence is read only where a task has some."""
    if not (measured.run.folder / "prompts.parquet").exists():  # as in the folders of fairbench 0.1
        return
    if sections.of_prompts(evidence.read_prompts(measured.run.folder), "category") is None:
        return
    run = measured.if_whole("What holds by category")
    values = [] if run is None else sections.of_run(run, "category")
    if full:
        _show_table(terminal_sections.table(values, "category"), console)
        return
    for sentence in terminal_sections.sentences(values, "category"):
        say(console, sentence)


def _following(measured: Measured, console: Console, full: bool) -> None:
    """Print how far prompts are followed by what they state, and what a context makes customary."""
    if lead := terminal_following.stated(measured):
        say(console, lead)
    for table in (
        terminal_following.table(measured, full=full),
        terminal_following.beside(measured) if full else None,
        terminal_following.customary(measured),
    ):
        if table is not None:
            table.show(console)
            console.print()
    for sentence in terminal_following.sentences(measured):
        say(console, sentence)


def _others(measured: Measured, console: Console, _: bool) -> None:
    _show_table(tables.others(measured), console)


def _shares(measured: Measured, console: Console, _: bool) -> None:
    _show_table(tables.of_classes(measured, "share", "shares of classes"), console)


def _gaps(measured: Measured, console: Console, _: bool) -> None:
    _show_table(tables.of_classes(measured, "gap", "gaps: a class's share above the mean of the others"), console)


def _quality(measured: Measured, console: Console, full: bool) -> None:
    if full:
        for table in terminal_quality.tables(measured):
            _show_table(table, console)
        return
    for sentence in terminal_quality.sentences(measured):
        say(console, sentence)


def _references(measured: Measured, console: Console, _: bool) -> None:
    _show_table(references.table(measured), console)


def _show_table(table: Table | None, console: Console) -> None:
    if table is not None:
        table.show(console)
        console.print()


def _correction(measured: Measured, console: Console, _: bool) -> None:
    """Say what corrected values assume, or why there are none."""
    correction = measured.record.correction
    if correction is None:  # as in a copy of run.json that lacks it
        return
    if correction.assumptions:
        say(console, correction.assumptions, "dim")
    else:
        say(console, f"nothing is corrected for the labeller's errors: {correction.reason}", lead="note: ")


def _truth(measured: Measured, console: Console, full: bool) -> None:
    """Print what is known beside what was measured, in short as a sentence; a truth that does not apply is a note."""
    table = terminal_truth.table(measured)
    if table is not None and full:
        table.show(console)
    elif table is not None:
        for sentence in terminal_truth.in_short(measured):
            say(console, sentence)
    for truth in measured.record.truth:
        if truth.note is not None:
            say(console, f"known truth {truth.name!r} is not shown: {truth.note}", lead="note: ")


def _images(measured: Measured, console: Console, _: bool) -> None:
    """Say how many images there are, how many show nobody, and how many show what their prompt states."""
    rate, followed = (measured.find(name, "raw", FACES) for name in ("no-face-rate", "attribute-following"))
    counts = [_counted(measured, "images")]
    counts += [] if rate is None else [f"without a face: {percent(rate['value'])}"]
    say(console, "; ".join(counts))
    if followed is not None:
        say(console, f"faces that show what their prompt states: {percent(followed['value'])}")


def _statuses(measured: Measured, console: Console, _: bool) -> None:
    """Say what became of every face, label and score."""
    for table in measured.record.statuses or {}:
        if table != "images":
            say(console, _counted(measured, table))


def _counted(measured: Measured, table: str) -> str:
    counts = (measured.record.statuses or {}).get(table, {})
    return f"{table}: {', '.join(f'{n} {status}' for status, n in counts.items() if n)}"


def _scores(measured: Measured, console: Console, _: bool) -> None:
    for row in measured.rows:
        if row["attribute"] == QUALITY and row["scope"] == THIS_LIST:
            scorers = measured.record.scorers.items()
            backbone = next((s.backbone for name, s in scorers if name.replace("-", "_") == row["metric"]), None)
            say(console, f"{row['metric']}: {number(row['value'])}{f' ({backbone})' if backbone else ''}")


def _reasons(measured: Measured, console: Console, full: bool) -> None:
    """Say why values are absent, or what was left out of them: each reason once, with all that it holds for."""
    names_of: dict[str, list[str]] = {}
    for row in measured.rows:
        # ... or of a row that the short form lacks
        said = row["metric"] in ("concentration", *composite.NAMES) or row["estimate"] != "raw"
        if row["reason"] and row["scope"] == THIS_LIST and (full or not said):
            name = row["metric"] if row["attribute"] == QUALITY else spaced(row["attribute"])
            if name not in names_of.setdefault(row["reason"], []):
                names_of[row["reason"]].append(name)
    for reason, names in names_of.items():
        say(console, f"{', '.join(names)}: {reason}", lead="note: ")


def _notices(measured: Measured, console: Console, _: bool) -> None:
    for recorded in measured.record.notices:
        notice = Notice(recorded.code, recorded.text, recorded.count, tuple(recorded.examples))
        say(console, notice.sentence, lead=f"{notice.code}: ")


def _note(measured: Measured, console: Console, full: bool) -> None:
    say(console, terminal_headline.note(measured, full), "dim")


def _folder(measured: Measured, console: Console, _: bool) -> None:
    say(console, f"run {measured.record.run_id} in {measured.run.folder}", wrap=False)


class Part(NamedTuple):
    """A part of what is printed. show: takes what was measured, the console, and whether the form is the full one."""

    show: Callable[[Measured, Console, bool], None]
    short: bool = True
    """Whether the short form has it; the full form has them all."""


PARTS: Final = (
    Part(_headline),
    Part(_estimates, short=False),
    Part(_people, short=False),
    Part(_direction, short=False),
    Part(_contrasts),
    Part(_following),
    Part(_composite),
    Part(_wordings),
    Part(_categories),
    Part(_others, short=False),
    Part(_shares, short=False),
    Part(_gaps, short=False),
    Part(_references),
    Part(_quality),
    Part(_correction, short=False),
    Part(_truth),
    Part(_images, short=False),
    Part(_statuses, short=False),
    Part(_scores),
    Part(_reasons),
    Part(_notices),
    Part(_note),
    Part(_folder),
)
"""What is printed, in this order."""
