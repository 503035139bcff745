"""What a training reports: rows of JSON, and the same figures in TensorBoard; nothing twice after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fairbench.errors import FairbenchError
from fairbench.training.records import BOARD, METRICS, Records


def written(folder: Path, steps: range, start: int = 0) -> None:
    records = Records(folder, start)
    for step in steps:
        records.add(step, {"loss": 1.0 / (1 + step), "eval rd": None if step % 2 else 0.5})
    records.close()


def test_both_places_hold_every_figure_once_after_a_stop(tmp_path: Path) -> None:
    written(tmp_path, range(6))  # stopped after step 5, the last state was before step 4
    written(tmp_path, range(4, 8), start=4)
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(8))
    board = EventAccumulator(str(tmp_path / BOARD)).Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [
        (row["step"], pytest.approx(row["loss"])) for row in rows
    ]
    assert [e.step for e in board.Scalars("eval rd")] == [0, 2, 4, 6]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text("{")
    with pytest.raises(FairbenchError, match=METRICS):
        Records(tmp_path, 3)
