"""Run folders whose metrics are made up, so that what is printed of them can be read and compared with golden texts.

`python -m tests.builders.shown_runs` writes the golden texts again: read the difference before you keep it.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from rich.console import Console

from fairbench import api
from fairbench.runs import terminal
from fairbench.storage import schemas
from tests.builders.folders import ROOT

OLD: Final = ROOT / "tests" / "data" / "fairbench-0.1.0" / "run"
GOLDEN: Final = ROOT / "tests" / "golden" / "shown"
WIDTHS: Final = (60, 80, 120)
RENDERS: Final = "renders encoded and decoded by the image tokenizer of model phantom"
FACES_OF_CELEBRITIES: Final = "photographs"
Row = dict[str, Any]


@dataclass(frozen=True)
class MadeUp:
    """A run to print. rows: of its metrics table. more: fields of run.json."""

    rows: Sequence[Row]
    prompts: int = 32
    images: int = 32
    more: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write run.json, metrics.parquet and prompts.csv into a new folder and return it."""
        folder.mkdir(parents=True)
        record = json.loads((OLD / "run.json").read_text())
        total = self.prompts * self.images
        record |= {"statuses": {"images": {"ok": total}}, "truth": [], "notices": [], **self.more}
        (folder / "run.json").write_text(json.dumps(record))
        names = {"run_id": record["run_id"], "model": "m", "method": "none", "task": "t", "labeller": "phantom"}
        counts = {"n_requested": total, "n_images": total, "n_faces": total - 2, "n_excluded": 0}
        fixed = {**names, "metric_version": 1, "scope": "task", "scope_value": "t", "estimate": "raw", **counts}
        rows = [{**fixed, "n_prompts": self.prompts, **row} for row in self.rows]
        table = {name: [row.get(name) for row in rows] for name in schemas.schema("metrics").names}
        pq.write_table(schemas.build("metrics", table), folder / "metrics.parquet", write_page_checksum=True)
        (folder / "prompts.csv").write_text("\n".join(["prompt,subject", *(f"p{i},s{i}" for i in range(self.prompts))]))
        for name, text in self.files.items():
            (folder / name).write_text(text)
        return folder


def row(metric: str, attribute: str, value: float | None, low: float | None = None, high: float | None = None) -> Row:
    """Return a row of the task with its interval."""
    return {"metric": metric, "attribute": attribute, "value": value, "ci_low": low, "ci_high": high}


def concentration(
    attribute: str, read: tuple[float, float, float], fair: tuple[float, float, float], pooled: float, rd: float
) -> Iterator[Row]:
    """Yield what every run has of an attribute. fair: mean and 95th percentile of a fair model, and the ceiling."""
    mean, p95, ceiling = fair
    columns = {"floor": mean, "floor_p95": p95, "ceiling": ceiling, "calibration_sha": "c"}
    yield row("concentration", attribute, *read) | columns
    yield row("concentration", attribute, pooled) | {"estimate": "pooled"}
    yield row("rd", attribute, rd, rd - 0.02, rd + 0.02) | {"floor": 0.12, "floor_p95": 0.14, "ceiling": 1.0}


def corrected(attribute: str, value: float, low: float, high: float, estimate: str = "corrected") -> Row:
    """Return a row of a corrected estimate, or of an end of its range."""
    return row("concentration", attribute, value, low, high) | {"estimate": estimate, "calibration_sha": "c"}


def elsewhere(attribute: str, low: float, high: float) -> Row:
    """Return the row of other prompts."""
    return row("concentration", attribute, (low + high) / 2, low, high) | {"scope": "population"}


def gap(attribute: str, label: str, value: float, low: float, high: float) -> Row:
    """Return the row of a class's gap."""
    return row(f"gap[{label}]", attribute, value, low, high) | {"error": (high - low) / 3.92}


GAPS: Final = (
    gap("gender", "female", 0.041, 0.003, 0.079),
    gap("race4", "WMELH", 0.155, 0.134, 0.177),
    gap("race4", "Black", -0.017, -0.039, 0.004),
    gap("race4", "Indian", 0.020, -0.002, 0.042),
    gap("race4", "Asian", -0.158, -0.177, -0.139),
)
NO_FACE: Final = row("no-face-rate", "faces", 2 / 1024)
BASIC: Final = (
    *concentration("gender", (0.624, 0.578, 0.669), (0.0, 0.003, 1.0), 0.002, 0.743),
    *concentration("race4", (0.652, 0.616, 0.689), (0.0, 0.002, 1.0), 0.03, 0.410),
    *concentration("gender_x_race4", (0.555, 0.521, 0.586), (0.0, 0.001, 1.0), 0.02, 0.215),
    *GAPS,
    NO_FACE,
)
ADJUSTED: Final = (
    corrected("gender", 0.624, 0.579, 0.668),
    corrected("race4", 0.652, 0.616, 0.689),
    corrected("gender_x_race4", 0.556, 0.522, 0.586),
)
OTHERS: Final = (
    elsewhere("gender", 0.50, 0.75),
    elsewhere("race4", 0.54, 0.77),
    elsewhere("gender_x_race4", 0.45, 0.66),
)
WHY_NOT: Final = "the counts in 11 of 32 prompts cannot come from these errors"
REFUSED: Final = tuple({**r, "value": None, "ci_low": None, "ci_high": None, "reason": WHY_NOT} for r in ADJUSTED)
RANGE: Final = (
    corrected("gender", 0.651, 0.632, 0.671, "corrected-lowest"),
    corrected("gender", 0.834, 0.799, 0.862, "corrected-highest"),
    corrected("race4", 0.652, 0.616, 0.689, "corrected-lowest"),
    corrected("race4", 0.771, 0.730, 0.811, "corrected-highest"),
    corrected("gender_x_race4", -0.012, -0.033, 0.004, "corrected-lowest"),
    corrected("gender_x_race4", 1.240, 1.101, 1.380, "corrected-highest"),
)
EVEN: Final = (
    *concentration("gender", (0.0011, -0.0004, 0.0026), (0.0, 0.0021, 1.0), 0.0002, 0.071),
    *concentration("race4", (0.0061, 0.0049, 0.0073), (0.0002, 0.0014, 1.0), 0.003, 0.06),
    *concentration("gender_x_race4", (0.0032, -0.0101, 0.0165), (0.0, 0.0071, 1.0), 0.003, 0.06),
    gap("gender", "female", -0.012, -0.027, 0.003),
    gap("race4", "WMELH", 0.011, 0.001, 0.021),
    gap("race4", "Asian", -0.015, -0.025, -0.005),
)


AGE: Final = (
    *concentration("age", (0.411, 0.380, 0.442), (0.014, 0.021, 0.71), 0.28, 0.251),
    gap("age", "20-29", 0.39, 0.37, 0.41),
    gap("age", "70+", -0.11, -0.12, -0.10),
)
PEOPLE: Final = {
    "run_id": json.loads((OLD / "run.json").read_text())["run_id"],
    "labels_sha256": "0" * 64,
    "images": 512,
    "annotators": 3,
    "who": "students of two universities",
    "rows": [
        row("concentration", "gender", 0.771, 0.722, 0.820) | {"estimate": "people"},
        row("concentration", "gender", 0.779, 0.741, 0.817) | {"estimate": "local-table"},
        row("concentration", "gender", 0.762, 0.681, 0.843) | {"estimate": "people-alone"},
        row("concentration", "race4", 0.003, -0.004, 0.009) | {"estimate": "people"},
        row("concentration", "gender_x_race4", None) | {"estimate": "people", "reason": "too few labels"},
        row("concentration", "gender", 0.012) | {"estimate": "people-pooled"},
        row("share[undecided]", "gender", 0.031) | {"estimate": "people"},
        gap("gender", "female", -0.071, -0.102, -0.040) | {"estimate": "people"},
    ],
}


def _with_age() -> dict[str, Any]:
    """Return the phantom's labeller as if it read ages, too."""
    card = json.loads((OLD / "run.json").read_text())["labeller"]
    card["attributes"]["age"] = {"labels": ["0-19", "20-29", "30-49", "50-69", "70+"]}
    card["classifiers"][0]["heads"]["age"] = {"output": "age", "activation": "softmax"}
    return card


def _of_table() -> dict[str, Any]:
    """Return the card that stands for the phantom's labels in a table."""
    card = json.loads((OLD / "run.json").read_text())["labeller"]
    part = {"type": "table", "sha256": "0" * 64}
    routes = [{"detector": part, "crop": {"type": "table"}}]
    return {**card, "name": "labels", "routes": routes, "classifiers": [part], "calibration": None}


def _changed(rows: Sequence[Row], **columns: Any) -> tuple[Row, ...]:
    return tuple({**r, **columns} for r in rows)


CASES: Final[Mapping[str, MadeUp]] = {
    "normal": MadeUp((*BASIC, *ADJUSTED, *OTHERS)),
    "one-prompt": MadeUp((*BASIC, *ADJUSTED), prompts=1),
    "five-prompts": MadeUp((*BASIC, *ADJUSTED, *OTHERS), prompts=5, images=160),
    "several-faces": MadeUp(_changed((*BASIC, *ADJUSTED, *OTHERS), n_faces=4087, n_excluded=31)),
    "refused": MadeUp((*BASIC, *REFUSED, *OTHERS)),
    "one-refused": MadeUp((*BASIC, REFUSED[0], *ADJUSTED[1:], *OTHERS)),
    "range": MadeUp((*BASIC, *REFUSED, *RANGE, *OTHERS), more={"correction": {"domain": FACES_OF_CELEBRITIES}}),
    "dropped-prompts": MadeUp(
        _changed((*BASIC, *ADJUSTED, *OTHERS), n_prompts=29, reason="over 29 of 32 prompts (3 have too few faces)")
    ),
    "large-values": MadeUp(
        (
            *concentration("gender", (1.0, -1.0, 1.0), (1.0, 1.0, 1.0), -1.0, 1.0),
            *concentration("race4", (-1.201, -10.853, 10.853), (-0.111, 1.0, 1.24), 1.24, 1.0),
            corrected("gender", 1.090, 1.015, 1.166),
            corrected("race4", -1.0, -3.960, 3.050),
            elsewhere("gender", -1.201, 1.207),
        )
    ),
    "people": MadeUp((*BASIC, *REFUSED, *RANGE, *OTHERS), files={"people.json": json.dumps(PEOPLE)}),
    "table": MadeUp(
        _changed((*BASIC, *OTHERS), calibration_sha=None),
        more={"labeller": _of_table(), "correction": {"reason": "the labels are a table's"}},
    ),
    "age": MadeUp((*BASIC, *AGE, *ADJUSTED), more={"labeller": _with_age()}),
    "even": MadeUp((*EVEN, *OTHERS), prompts=50, images=160),
    "no-calibration": MadeUp(
        _changed((*BASIC, *OTHERS), calibration_sha=None),
        more={"correction": {"reason": "the labeller has no calibration"}},
    ),
}


def printed(folder: Path, width: int, *, full: bool = False) -> str:
    """Return what `show` prints of a run's folder, without blanks at the ends of lines."""
    out = io.StringIO()
    terminal.show(api.load(folder), Console(file=out, width=width), full=full)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def text(case: MadeUp, folder: Path) -> str:
    """Return the short form at every width; folder: a new one."""
    run = case.write(folder)
    texts = (f"--- {width} columns\n{printed(run, width)}" for width in WIDTHS)
    return "".join(texts).replace(str(run), "FOLDER")


def write_golden(place: Callable[[str], Path] = lambda name: GOLDEN / f"{name}.txt") -> None:
    """Write the golden text of every case."""
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            place(name).parent.mkdir(exist_ok=True)
            place(name).write_text(text(case, Path(folder) / "run"), encoding="utf-8")


if __name__ == "__main__":
    write_golden()
