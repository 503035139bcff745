"""What a report says of one run, as plain data for its page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.note import label_note
from fairbench.display.numbers import number, with_interval
from fairbench.labelling import confusion
from fairbench.measure.quantities import THIS_LIST
from fairbench.measure.references import of_prompts
from fairbench.notices import Notice
from fairbench.pages.chart import Chart
from fairbench.reporting import gallery, values
from fairbench.reporting.audits import Audit
from fairbench.reporting.charts import calibrated, fields, of_run
from fairbench.reporting.charts import quality as quality_chart
from fairbench.reporting.suites import Suite
from fairbench.runs import (
    evidence,
    headline,
    prompt_names,
    quality,
    references,
    single_prompts,
    terminal_composite,
    terminal_contrasts,
    terminal_headline,
    terminal_prompts,
    terminal_quality,
    verdict,
)
from fairbench.runs import terminal_tables as tables
from fairbench.runs.result import Run
from fairbench.runs.terminal_tables import Measured

MEANS: Final = (
    "They follow the categories of a benchmark, which are coarse, and say nothing about any person. A picture that a "
    "model drew shows nobody.",
    "An even model shows every group of an attribute equally often for each prompt. Whether that is the right aim is a "
    "decision that no number makes.",
)
"""What is said of labels after whose they are."""


class Content:
    """One run, and an audit of its model where there is one. Everything is computed when it is first asked for."""

    def __init__(self, run: Run, audit: Audit | None = None) -> None:
        self.run, self.record, self.audit = run, run.record, audit
        self.measured = Measured(run)

    @cached_property
    def headlines(self) -> list[headline.Headline]:
        """What the short form says of each attribute."""
        return headline.of_run(self.measured)

    @cached_property
    def suite(self) -> Suite:
        """The categories and wordings of the task; without what only the evidence tells, where that cannot be read."""
        return Suite(self.measured)

    @property
    def name(self) -> str:
        """Model and method."""
        method = "" if self.record.method == "none" else f" with {self.record.method}"
        return f"{self.record.model.public_title}{method}"

    @property
    def label_note(self) -> str:
        """What the labels are, and whose."""
        return label_note(*self.run.seen_by)

    @property
    def label(self) -> str:
        """A short name that tells it from other runs."""
        parts = [self.record.model.name, self.record.method, self.record.labeller.name, self.record.run_id[:6]]
        return " ".join(part for part in parts if part != "none")

    @property
    def attributes(self) -> dict[str, list[str]]:
        """Attribute -> its labels, crosses left out."""
        return {name: list(labels) for name, labels in self.measured.space.declared.labels.items()}

    def verdicts(self) -> list[dict[str, str]]:
        """Return a sentence per attribute with its finding, and what a fair model would read beside this one."""
        return [
            {
                "attribute": spaced(h.attribute),
                "finding": verdict.finding(h),
                "sentence": verdict.sentence(h),
                "fair": _fair(h),
            }
            for h in self.headlines
        ]

    def further(self) -> list[str]:
        """Return what else the short form says, after the verdicts: of other prompts, RD, and what it all assumes."""
        said = list(terminal_headline.sentences(self.headlines))[len(self.headlines) :]
        assumed = (
            [] if self.measured.people is not None else terminal_headline.assumptions(self.measured, self.headlines)
        )
        return [*said, *self.suite.sentences(), *assumed]

    def notices(self) -> list[dict[str, str]]:
        """Return the run's notices, each as a sentence."""
        named = not gallery.of_files(self.run)  # examples may be names of the user's files
        found = (Notice(n.code, n.text, n.count, tuple(n.examples) if named else ()) for n in self.record.notices)
        return [{"code": notice.code, "sentence": notice.sentence} for notice in found]

    def main_table(self) -> dict[str, str]:
        """Return what the short form shows, as HTML, Markdown and LaTeX: also what a fair model would read."""
        return values.written(terminal_headline.table(self.measured, self.headlines), self.label_note)

    def tables(self) -> list[dict[str, str]]:
        """Return the tables of the full form, the main one first, each as HTML, Markdown and LaTeX."""
        further = [
            tables.estimates(self.measured),
            tables.by_people(self.measured),
            tables.direction(self.measured),
            terminal_contrasts.table(self.measured),
            *self.suite.tables(),
            terminal_composite.table(self.measured),
            tables.others(self.measured),
            tables.of_classes(self.measured, "share", "shares of classes"),
            tables.of_classes(self.measured, "gap", "gaps: a class's share above the mean of the others"),
            references.table(self.measured),
            *terminal_quality.tables(self.measured),
        ]
        written = (values.written(table, self.label_note) for table in further if table is not None)
        return [self.main_table(), *written]

    def concentrations(self) -> list[dict[str, Any]]:
        """Return run, attribute, value, low, high and what a fair model reads, of each concentration as read."""
        return [
            {
                "run": self.label,
                "attribute": spaced(h.attribute),
                "value": h.read.value,
                "low": h.read.low,
                "high": h.read.high,
                "fair": h.fair,
            }
            for h in self.headlines
            if h.read.value is not None
        ]

    def concentration_of_prompts(self, attribute: str) -> dict[bytes, tuple[str, float]]:
        """Return neutral id -> name and concentration as read, of the prompts that have one."""
        table = self.run.metrics
        rows = table[(table["scope"] == "prompt") & (table["metric"] == "concentration")]
        rows = rows[(rows["attribute"] == attribute) & (rows["estimate"] == "raw") & rows["value"].notna()]
        value_of = dict(zip(rows["scope_value"], rows["value"], strict=True))
        known = (p for p in self._prompts if p.text in value_of)
        return {p.neutral_id: (self.name_of[p.text], float(value_of[p.text])) for p in known}

    def charts(self) -> Iterator[Chart]:
        """Yield the charts: of what the task asks, then of single prompts, attribute by attribute."""
        yield from self.suite.charts()
        for h in self.headlines:
            names = self.measured.attributes[h.attribute]
            if len(names) == 1:
                shares = self.run.shares(h.attribute)
                shares["name"] = shares["prompt"].map(self.name_of)
                chart = of_run.shares(h.attribute, shares, self._reference(h.attribute))
                if chart is not None:
                    yield chart
            elif len(names) == 2 and (cells := self._cells(h.attribute, names)):
                yield fields.plane(h.attribute, cells)
            (of_prompts,) = single_prompts.of_run(self.measured.finished, h.attribute)
            words = terminal_prompts.sentence(of_prompts)
            rows = [{**row, "name": self.name_of[row["prompt"]]} for row in of_prompts.rows]
            concentration = of_run.concentrations(h.attribute, rows, h.fair, words)
            if concentration is not None:
                yield concentration
        yield from self._quality()
        yield from self._calibration()

    def _quality(self) -> Iterator[Chart]:
        """Yield how each class scores beside the others of its prompts, scorer by scorer."""
        for _, contrasts in itertools.groupby(quality.of_run(self.measured.finished), lambda each: each.key[:2]):
            chart = quality_chart.by_group(list(contrasts))
            if chart is not None:
                yield chart

    def _calibration(self) -> Iterator[Chart]:
        """Yield the errors of the labeller that the adjusted values rest on."""
        path = self.run.folder / evidence.FOLDER / evidence.CALIBRATION
        if path.is_file():
            yield from calibrated.charts(confusion.read(path))

    @cached_property
    def values(self) -> list[dict[str, Any]]:
        """Every value of the metrics table that is not of one prompt."""
        return values.rows(self.measured.rows)

    def definitions(self) -> list[tuple[str, str]]:
        """Return each metric of the run with its definition."""
        return values.definitions(self.record, self.measured.rows)

    def _cells(self, attribute: str, names: tuple[str, ...]) -> list[tuple[str, str, float]]:
        labels = [self.measured.space.declared.labels[name] for name in names]
        cells = []
        for row, column in itertools.product(*labels):
            found = self.measured.find(f"share[{row} {column}]", "raw", attribute, THIS_LIST)
            if found is None or found["value"] is None:
                return []
            cells.append((row, column, found["value"]))
        return cells

    def _reference(self, attribute: str) -> dict[str, list[float]]:
        size = len(self.measured.space.declared.labels[attribute])
        subjects = [prompt.subject for prompt in self._prompts]
        shares = of_prompts(self.record.declared.references, attribute, size, subjects)
        if shares is None:
            return {}
        names = self.name_of.values()
        return {name: list(map(float, row)) for name, row in zip(names, shares, strict=True) if row[0] == row[0]}

    @cached_property
    def _prompts(self) -> list[Any]:
        return evidence.read_prompts(self.run.folder)

    @cached_property
    def name_of(self) -> dict[str, str]:
        """Text of each prompt -> its short name, in the order of the prompts."""
        return dict(zip((p.text for p in self._prompts), prompt_names.of_prompts(self._prompts), strict=True))

    def prompts(self) -> list[dict[str, str]]:
        """Return the prompts in their order. name: no two have the same."""
        return [{"text": p.text, "subject": p.subject, "name": self.name_of[p.text]} for p in self._prompts]


def _fair(h: headline.Headline) -> str:
    """Return what the labeller reads here and what it would read of a fair model; empty where that is not known."""
    if h.read.value is None or h.fair is None or h.fair_p95 is None:
        return ""
    return (
        f"Concentration as read: {with_interval(*h.read)}. A fair model would read {number(h.fair)} on average, and "
        f"at most {number(h.fair_p95)} in 95 of 100 runs."
    )
