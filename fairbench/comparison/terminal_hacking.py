"""What a comparison prints of runs that may please the labeller of their training alone."""

from __future__ import annotations

from rich.console import Console

from fairbench.comparison.hacking import Hacking
from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value, span
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers

CAPTION = (
    "Alarm: worse than {baseline} by more than the margin (Holm over {tests} tests: honest runs, all within the "
    "margins, raise any alarm in at most {level:g} % of reports). labellers' gap: concentration as {judge} sees it "
    "less that as {trained} does, on one scale; it grows where a run is less biased in the eyes of {trained} alone. "
    "unread: images that have no labels. blank: one plain colour. near-copies: pairs of a prompt's images that "
    "differ by 4 grey levels at most. No alarm is no proof: people should look, too."
)


def show(result: Hacking, baseline: str, alpha: float, console: Console) -> None:
    """Print a row for each check of each run, and what raised an alarm."""
    heads = numbers(baseline, "run", "change", f"[{100 * (1 - alpha):g} %]", "margin", "p")
    tests = sum(check.reason is None for check in result.checks)
    note = CAPTION.format(baseline=baseline, tests=tests, level=100 * alpha, judge=result.judge, trained=result.trained)
    title = f"Trained with {result.trained}, judged by {result.judge}"
    table = Table([Column("check", wraps=True), *heads, Column("", wraps=True)], title, note)
    for check in result.checks:
        values = (number(v) for v in (check.a, check.b, check.effect))
        last = check.reason or ("ALARM" if check.alarm else "no alarm")
        limits = span(check.low, check.high), number(check.margin), p_value(check.p_adjusted)
        table.add(f"{check.run} {spaced(check.name)}", *values, *limits, last)
    table.show(console)
    alarms = dict.fromkeys(check.run for check in result.checks if check.alarm)
    judged = f"Alarm: {', '.join(alarms)}." if alarms else "No alarm."
    say(console, f"{judged} Bias is to be read off {result.judge}, not off {result.trained}.")
