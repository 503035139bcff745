"""A comparison of finished runs as Python shows it: tidy tables of what compare.json and compare.csv hold."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fairbench.comparison import files, terminal
from fairbench.comparison.compare import Result
from fairbench.display.page import Shown
from fairbench.storage import paths

if TYPE_CHECKING:
    import pandas as pd


class Comparison(Shown):
    """Runs against the first of them, or two labellers on the same images. folder: where its files are, if written."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.folder: Path | None = None

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

    def write(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write compare.json, compare.csv and the picture; return the folder. None: runs/compare-<run ids>.

        Raises FairbenchError for a folder that holds anything else.
        """
        chosen = files.default_folder(self.result) if folder is None else paths.expand(os.fspath(folder))
        files.write(self.result, chosen)
        self.folder = chosen
        return chosen

    def show(self, *, full: bool = False) -> None:
        """Print what the command prints. full: all effects of primary attributes, as `fairbench compare --full`."""
        self._print(Console(), full=full)

    def _print(self, console: Console, *, full: bool = False) -> None:
        terminal.show(self.result, self.folder, console, full=full)
