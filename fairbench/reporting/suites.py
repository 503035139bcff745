"""What a page shows of what a task states, of its categories and wordings: charts, and tables of the full form."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from fairbench.display.tables import Table
from fairbench.measure import wordings
from fairbench.measure.counts import cross_name, primary
from fairbench.pages.chart import Chart
from fairbench.reporting.charts import following as of_stated
from fairbench.reporting.charts import sections as drawn
from fairbench.runs import following, sections, terminal_following, terminal_sections, terminal_wordings
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.sections import SectionValue
from fairbench.runs.terminal_tables import Measured
from fairbench.stats import intervals
from fairbench.stats.crossed import PARTS


class Suite:
    """What a run's prompts state, their categories and their wordings, where its task has any.

    What only the evidence tells is left out where that cannot be read, as the page of evidence says.
    """

    def __init__(self, measured: Measured) -> None:
        self._measured, self._run = measured, measured.if_whole("What holds by category and wording")

    @cached_property
    def _categories(self) -> list[SectionValue]:
        return [] if self._run is None else sections.of_run(self._run, "category")

    def sentences(self) -> Iterator[str]:
        """Yield what the short form says of these."""
        if lead := terminal_following.stated(self._measured):
            yield lead
        yield from terminal_following.sentences(self._measured)
        yield from terminal_wordings.sentences(self._measured)
        yield from terminal_sections.sentences(self._categories, "category")

    def tables(self) -> list[Table | None]:
        """Return the tables of these; None for what the task does not have."""
        return [
            terminal_following.table(self._measured, full=True),
            terminal_following.beside(self._measured),
            terminal_following.customary(self._measured),
            terminal_wordings.table(self._measured),
            terminal_sections.table(self._categories, "category"),
        ]

    def charts(self) -> Iterator[Chart]:
        """Yield the charts of what is stated, and of categories and wordings of the primary attributes."""
        tested = " ".join(terminal_following.differing(self._measured))
        groups, gap = following.groups(self._measured), following.stereotype(self._measured)
        yield from of_stated.charts(groups, gap, following.customary(self._measured), tested)
        attributes = [cross_name(names) for names in primary(self._measured.space)]
        for attribute in attributes:
            chart = drawn.by_section(attribute, self._categories, "category")
            if chart is not None:
                yield chart
        if self._run is not None:
            yield from self._of_wordings(attributes, self._run)

    def _of_wordings(self, attributes: list[str], run: FinishedRun) -> Iterator[Chart]:
        found = wordings.crossing(run.prompts)
        if found is None:
            return
        said = [*terminal_wordings.sentences(self._measured), ""]
        rows = [
            {"attribute": name, "part": part, "share": row["value"], "low": row["ci_low"], "high": row["ci_high"]}
            for name in attributes
            for part in PARTS
            if (row := self._measured.find(f"{wordings.SHARE}[{part}]", "raw", name)) and row["value"] is not None
        ]
        chart = drawn.of_variance(rows, said[0])
        if chart is not None:
            yield chart
        for names in primary(run.counts.labeller):
            value = intervals.concentration_of_prompts(run.counts.data(names)).value
            values = {w: value[cells].tolist() for w, cells in zip(found.wordings, found.cells.T, strict=True)}
            chart = drawn.of_wordings(cross_name(names), found.subjects, values, said[1] if rows else said[0])
            if chart is not None:
                yield chart
