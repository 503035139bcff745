"""What a report says of several runs together: the comparison's own words and paired differences, and its charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fairbench.comparison import terminal
from fairbench.comparison.compare import RunComparison, compare
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.verdicts import CONCENTRATION
from fairbench.display.labels import spaced
from fairbench.display.numbers import number, percent
from fairbench.display.page import Page
from fairbench.errors import FairbenchError
from fairbench.pages.chart import Chart
from fairbench.reporting.charts import fields, of_runs
from fairbench.reporting.content import Content
from fairbench.stats.intervals import Z_95


@dataclass(frozen=True, slots=True)
class SideBySide:
    """html: the comparison as `fairbench compare` words it; empty where the runs do not compare, as `problem` says."""

    html: str = ""
    problem: str = ""
    charts: list[Chart] = field(default_factory=list)


def of(contents: Sequence[Content]) -> SideBySide:
    """Return the comparison of runs with the first of them."""
    try:
        result = compare([content.run.folder for content in contents])
    except FairbenchError as err:
        return SideBySide(problem=str(err))
    charts = _agreement(result) if isinstance(result, LabellerComparison) else _of_runs(result, contents)
    page = Page()
    terminal.show(result, None, page, hints=False)
    return SideBySide(page.html(), charts=list(charts))


def _of_runs(result: RunComparison, contents: Sequence[Content]) -> Iterator[Chart]:
    rows = [
        {
            "attribute": spaced(row.attribute),
            "run": row.run,
            **{name: _known(getattr(row, name)) for name in ("a", "b", "effect", "low", "high")},
            "verdict": row.verdict,
        }
        for name in result.primary
        for row in result.rows
        if (row.attribute, row.estimand, row.scope) == (name, CONCENTRATION, "this list")
        and _known(row.effect) is not None
    ]
    if rows:
        yield of_runs.differences(result.sides[0].letter, rows)
    if len(contents) == 2:
        letters = (result.sides[0].letter, result.sides[1].letter)
        for name in result.primary:
            first, second = (content.concentration_of_prompts(name) for content in contents)
            pairs = [(first[text][0], first[text][1], second[text][1]) for text in first if text in second]
            if pairs:
                yield of_runs.prompts(name, letters, pairs)


def _agreement(result: LabellerComparison) -> Iterator[Chart]:
    """Yield how often each label of one labeller meets each of the other."""
    first, second = (f"{side.letter}: {side.run.record.labeller.name}" for side in result.sides)
    for each in result.attributes:
        agreed = each.agreement
        if not agreed.n:
            continue
        reach = Z_95 * agreed.kappa_error
        limits = f" [{number(agreed.kappa - reach)}, {number(agreed.kappa + reach)}]" if math.isfinite(reach) else ""
        kappa = f"; Cohen's kappa {number(agreed.kappa)}{limits}" if math.isfinite(agreed.kappa) else ""
        yield fields.confusion(
            f"agreement-{each.attribute}",
            f"{spaced(each.attribute)}: two labellers of the same faces",
            f"The same label for {percent(agreed.raw)} of {agreed.n} faces{kappa}. Numbers of faces; colour: their "
            "share of the row. Neither labeller is the truth.",
            (first, second),
            (each.labels, each.labels),
            each.table,
        )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
