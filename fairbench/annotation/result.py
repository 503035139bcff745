"""An annotation as Python shows it: what was written, and later the labels and how far annotators agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console

from fairbench.annotation import terminal
from fairbench.annotation.collect import Collected
from fairbench.annotation.record import Annotation
from fairbench.display.page import Shown

if TYPE_CHECKING:
    import pandas as pd


class Annotated(Shown):
    """A sample of images and what annotators get. sent: the files for them."""

    def __init__(self, folder: Path, annotation: Annotation, sample: pa.Table, sent: list[Path]) -> None:
        self.folder, self.annotation, self.sent, self._sample = folder, annotation, sent, sample

    @property
    def summary(self) -> dict[str, Any]:
        """What the command prints, as plain data."""
        return terminal.summary(self.folder, self.annotation, self._sample, self.sent)

    @property
    def sample(self) -> pd.DataFrame:
        """A row per sampled image: sample.parquet."""
        table: pd.DataFrame = self._sample.to_pandas()
        return table

    def _print(self, console: Console) -> None:
        terminal.show_annotated(self.summary, console)


class CollectedLabels(Shown):
    """A label per sampled image. summary: the content of agreement.json."""

    def __init__(self, folder: Path, collected: Collected, summary: dict[str, Any]) -> None:
        self.folder, self.summary, self._collected = folder, summary, collected

    @property
    def labels(self) -> pd.DataFrame:
        """A row per sampled image: labels.parquet."""
        table: pd.DataFrame = self._collected.labels.to_pandas()
        return table

    def _print(self, console: Console) -> None:
        terminal.show_collected(self.folder, self.summary, console)
