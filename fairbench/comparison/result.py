"""A comparison of finished runs as Python shows it: tidy tables of what compare.json and compare.csv hold."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairbench.comparison import files
from fairbench.comparison.compare import Comparison as RunComparison
from fairbench.comparison.labellers import LabellerComparison

if TYPE_CHECKING:
    import pandas as pd


class Comparison:
    """Runs against the first of them, or two labellers on the same images. folder: where its files are, if written."""

    def __init__(self, result: RunComparison | LabellerComparison, folder: Path | None = None) -> None:
        self.result, self.folder = result, folder

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of compare.json: runs, margins, effects, rankings, selection, notes; of labellers, agreement."""
        return files.manifest(self.result)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per effect, or per attribute that two labellers are compared on: the columns of compare.csv."""
        import pandas as pd

        return pd.DataFrame(files.rows(self.result, self.record))

    @property
    def notes(self) -> list[str]:
        """What a reader has to know of it, in sentences."""
        return list(self.record.get("notes", ()))
