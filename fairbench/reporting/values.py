"""Every value of a run's metrics table that is of all prompts, for its page, and what each metric is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairbench import registry
from fairbench.display.labels import spaced
from fairbench.display.numbers import number
from fairbench.display.page import Page
from fairbench.display.tables import Column, Table, numbers
from fairbench.errors import FairbenchError
from fairbench.listing import contents
from fairbench.measure.quantities import SCOPES
from fairbench.runs.record import RunRecord
from fairbench.runs.terminal_tables import Row

log = logging.getLogger(__name__)
NUMBERS: Final = ("value", "ci_low", "ci_high", "floor", "floor_p95", "ceiling", "n_faces", "n_prompts")
"""Columns of the metrics table that the page shows as numbers, in its order."""
HEADS: Final = ("value", "low", "high", "fair", "fair, 95 %", "most", "faces", "prompts")
WORDS: Final = ("attribute", "metric", "estimate", "scope")
TITLE: Final = "all values"
NOTE: Final = (
    "low, high: the 95 % interval for its scope; fair: what a fair model scores here through this labeller, on average "
    "and at most, 95 % of the time; most: what a one-sided model can score. Values of single prompts are in the charts "
    "above and in metrics.csv."
)


def rows(of_run: Sequence[Row]) -> list[dict[str, Any]]:
    """Return, for each row of the metrics table, its words, its numbers (exact, shown) and why one is absent."""
    return [
        {
            "words": (spaced(row["attribute"]), row["metric"], row["estimate"], SCOPES[row["scope"]]),
            "topic": topic(row["metric"]),
            "numbers": [_number(row[name], name) for name in NUMBERS],
            "reason": row["reason"] or "",
        }
        for row in of_run
    ]


def _number(value: float | None, column: str) -> tuple[str, str]:
    """Return the number as it is and as it is shown; both empty where there is none."""
    if value is None:
        return "", ""
    return repr(value), str(int(value)) if column.startswith("n_") else number(value)


def forms(of_page: Sequence[dict[str, Any]], label_note: str) -> dict[str, str]:
    """Return the table as Markdown and LaTeX. label_note: what stands below it in LaTeX."""
    table = Table([*map(Column, WORDS), *numbers(*HEADS), Column("why absent", wraps=True)], TITLE, NOTE)
    for row in of_page:
        table.add(*row["words"], *(shown for _, shown in row["numbers"]), row["reason"])
    return copied(written(table, label_note))


def written(table: Table, label_note: str) -> dict[str, str]:
    """Return a table as HTML, Markdown and LaTeX. label_note: what stands below it in LaTeX."""
    page = Page(label_note)
    page.keep(table)
    return {"html": page.html(), "markdown": page.markdown(), "latex": page.latex()}


def copied(forms: Mapping[str, str]) -> dict[str, str]:
    """Return the forms of a table that a script copies; its CSV is made of what the page shows."""
    return {name: forms[name] for name in ("markdown", "latex")}


def topic(metric: str) -> str:
    """Return the name under which a metric is defined: that of all classes of `share[female]`."""
    return metric.partition("[")[0]


def definitions(record: RunRecord, of_run: Sequence[Row]) -> list[tuple[str, str]]:
    """Return each metric of the table with its definition; of a plug-in that is gone, that it is."""
    scorer_of = _scorer_of(record)
    found = []
    for name in dict.fromkeys(topic(row["metric"]) for row in of_run):
        try:
            about = contents.described(*(("scorer", scorer_of[name]) if name in scorer_of else ("metric", name)), None)
            found.append((name, _definition(about)))
        except FairbenchError as err:
            found.append((name, f"its definition cannot be read: {err}"))
    return found


def _definition(about: Mapping[str, Any]) -> str:
    """Return the summary, and the formula with which the description begins."""
    formula = " ".join(about["description"].split("\n\n")[0].removeprefix("Return ").split())
    return f"{about['summary']}. {formula[:1].upper()}{formula[1:]}"


def _scorer_of(record: RunRecord) -> dict[str, str]:
    """Return the name of each value of the run's scorers -> its scorer; of those that can be read."""
    found: dict[str, str] = {}
    for scorer in record.scorers:
        try:
            found |= dict.fromkeys(registry.resolve("scorers", scorer).spec.values, scorer)
        except FairbenchError as err:
            found[scorer] = scorer
            log.warning("%s", err)
    return found
