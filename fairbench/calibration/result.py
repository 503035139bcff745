"""A calibration as Python shows it: the counts as a tidy table, and what they say about the labeller."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fairbench.calibration import people, people_terminal, terminal
from fairbench.calibration.people import RunPeople
from fairbench.display.page import Shown
from fairbench.labelling.confusion import Calibration as Confusion

if TYPE_CHECKING:
    import pandas as pd


class Calibration(Shown):
    """A labeller's errors on labelled images. file: the calibration file; card: the labeller card's file."""

    def __init__(self, confusion: Confusion, file: Path, card: Path | None) -> None:
        self.confusion, self.file, self.card = confusion, file, card

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the command prints, as plain data: persons, accuracy by cell and attribute, whether it can correct."""
        return terminal.summary(self.confusion, self.file, self.card)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per true cell and what it was read as: the columns truth, read, count and share (of the true cell)."""
        import pandas as pd

        counted, rates = self.confusion, self.confusion.rates()
        return pd.DataFrame(
            {
                "truth": [" ".join(row) for row in counted.rows for _ in counted.columns],
                "read": [" ".join(column) for _ in counted.rows for column in counted.columns],
                "count": counted.counts.ravel(),
                "share": rates.ravel(),
            }
        )

    def _print(self, console: Console) -> None:
        terminal.show(self.confusion, self.file, self.card, console)


class PeopleEstimates(Shown):
    """What labels by people say of the annotated runs; each of `runs` has its `people`."""

    def __init__(self, runs: Sequence[RunPeople]) -> None:
        self.runs = runs

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """What people.json holds of each run, as plain data, and which files were written."""
        return people.summary(self.runs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per run and estimate: the columns of people.csv, after the run's folder."""
        import pandas as pd

        rows = [{"run": str(r.folder), **e.model_dump()} for r in self.runs for e in r.people.rows]
        return pd.DataFrame(rows)

    def _print(self, console: Console) -> None:
        people_terminal.show(self.runs, console)
