"""The folder of a finished run: its record and its tables, as they were written."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.display.note import SeenBy
from fairbench.errors import FairbenchError
from fairbench.labelling import table_labeller
from fairbench.runs import people, record
from fairbench.runs.people import People
from fairbench.runs.record import RunRecord
from fairbench.storage import folders, paths, schemas
from fairbench.storage.cells import bare

if TYPE_CHECKING:
    import pandas as pd

_WORDS = ("prompt", "subject", "category")
"""Columns of prompts.csv that hold text: there, what is empty is no missing number."""


class RunFolder:
    """What stands in a run's folder. Everything is read when it is first asked for."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = paths.expand(os.fspath(folder))

    @cached_property
    def record(self) -> RunRecord:
        """The content of run.json. Raises FairbenchError where the folder holds no finished run."""
        folders.finish(self.folder)
        return record.read(self.folder / record.FILE)

    @property
    def id(self) -> str:
        """The run's id, a hash of all declared settings (32 hex digits)."""
        return self.record.run_id

    @cached_property
    def people(self) -> People | None:
        """What labels by people say of this run (`fairbench calibrate --from`); None where there are none."""
        return people.read(self.folder, self.id)

    @property
    def read_by(self) -> SeenBy:
        """What gave every face its label."""
        return table_labeller.read_by(self.record.labeller)

    @property
    def seen_by(self) -> tuple[SeenBy, ...]:
        """Whose labels the estimates rest on."""
        return (self.read_by,) if self.people is None else (self.read_by, "people")

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was asked for, None where a card's value was taken."""
        return {} if self.record.settings is None else asdict(self.record.settings)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Every value and estimate of the run: metrics.csv, a row per metric, attribute, estimate and scope."""
        table: pd.DataFrame = self.metrics_table.to_pandas()
        return table

    @cached_property
    def metrics_table(self) -> pa.Table:
        """The same as an Arrow table."""
        path = self.folder / "metrics.parquet"
        try:
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as err:
            _ = self.id  # a folder that holds no run is said to be that
            raise FairbenchError(f"{path} cannot be read ({str(err).splitlines()[0]}): do the run again.") from err
        return schemas.upgrade("metrics", table, str(path))

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """A row per prompt with its counts and the share of every class: prompts.csv."""
        import pandas as pd

        path = self.folder / "prompts.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                header = next(csv.reader(file), [])
            missing = {name: [""] for name in header if name not in _WORDS}
            types = dict.fromkeys(_WORDS, str)
            table = pd.read_csv(path, dtype=types, na_values=missing, keep_default_na=False)
            texts = {name: table[name].map(bare) for name in _WORDS if name in table}
            return table.assign(**texts).rename(columns=bare)
        except (OSError, ValueError) as err:
            _ = self.id
            raise FairbenchError(f"{path} cannot be read ({str(err).splitlines()[0]}): do the run again.") from err

    @cached_property
    def notices(self) -> pd.DataFrame:
        """What a reader of the numbers has to know: a row per notice, as in notices.csv."""
        import pandas as pd

        rows = [{**each.model_dump(), "examples": "; ".join(each.examples)} for each in self.record.notices]
        return pd.DataFrame(rows, columns=["code", "count", "text", "examples", "fix", "strict"])
