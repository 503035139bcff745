"""What a training reports: rows of JSON, and the same figures in trackers; nothing twice after a stop."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState, tracking
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fairbench.errors import FairbenchError
from fairbench.training import trackers
from fairbench.training.records import METRICS, Records, rows


def written(folder: Path, steps: range, start: int = 0, names: tuple[str, ...] = (trackers.BOARD,)) -> None:
    PartialState(cpu=True)  # as in a training; accelerate's trackers ask which process they are in
    (folder / "state").mkdir(exist_ok=True)
    records = Records(folder, folder / "state", start, names, {"rank": 4, "groups": "[]"})
    for step in steps:
        records.add(step, {"loss": 1.0 / (1 + step)})
        if step % 2 == 0:
            records.add(step, {"eval/rd": 0.5, "eval/none": None})
    records.close()


def test_both_places_hold_every_figure_once_after_a_stop(tmp_path: Path) -> None:
    written(tmp_path, range(6))  # stopped after step 5, the last state was before step 4
    written(tmp_path, range(4, 8), start=4)
    losses = [row for row in rows(tmp_path) if "loss" in row]
    assert [row["step"] for row in losses] == list(range(8))
    board = EventAccumulator(str(tmp_path / trackers.BOARD)).Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [
        (row["step"], pytest.approx(row["loss"])) for row in losses
    ]
    assert [e.step for e in board.Scalars("eval/rd")] == [0, 2, 4, 6]
    assert {path.name.split(".")[0] for path in (tmp_path / trackers.BOARD).iterdir()} == {"events"}


class Fake(tracking.GeneralTracker):
    """Keeps what it is given; it fails at `broken`, as a service may."""

    name = "trackio"
    given: list[tuple[str, int, str]]
    broken = -1

    def __init__(self, run_name: str, **options: Any) -> None:
        self.run, self.project = options["name"], run_name

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        assert values["rank"] == 4

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        assert step is not None
        if step == Fake.broken:
            raise OSError("no \x1b[31mnet")
        Fake.given += [(self.run, step, figure) for figure in values]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    Fake.given, Fake.broken = [], -1
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "trackio", Fake)
    return Fake


def test_a_tracker_is_given_each_figure_once_however_often_a_training_stops(fake: type[Fake], tmp_path: Path) -> None:
    written(tmp_path, range(3), names=("trackio",))  # stopped before there was a state
    written(tmp_path, range(6), names=("trackio",))  # from the start again; the last state was before step 4
    written(tmp_path, range(4, 4), start=4, names=("trackio",))  # stopped at once
    written(tmp_path, range(4, 8), start=4, names=("trackio", trackers.BOARD))  # a tracker that came later
    assert [step for _, step, figure in fake.given if figure == "loss"] == list(range(8))
    assert [step for _, step, figure in fake.given if figure == "eval/rd"] == [0, 2, 4, 6]
    assert len({run for run, _, _ in fake.given}) == 1
    board = EventAccumulator(str(tmp_path / trackers.BOARD)).Reload()
    assert [e.step for e in board.Scalars("loss")] == [4, 5, 6, 7]


def test_a_tracker_that_fails_on_the_way_does_not_stop_the_training(
    fake: type[Fake], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.broken = 2
    written(tmp_path, range(5), names=("trackio",))
    assert [row["step"] for row in rows(tmp_path) if "loss" in row] == list(range(5))
    assert [step for _, step, figure in fake.given if figure == "loss"] == [0, 1]
    assert caplog.messages == [r"The tracker trackio failed and is left out from here on: no \x1b[31mnet"]


def test_a_tracker_that_cannot_be_started_ends_those_that_were(
    fake: type[Fake], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(fake, "finish", lambda tracker: ended.append(tracker.project), raising=False)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", None)
    with pytest.raises(FairbenchError, match=r"^--track wandb: it cannot be started"):
        written(tmp_path, range(1), names=("trackio", "wandb"))
    assert ended == [trackers.PROJECT]


def test_what_cannot_be_used_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", ["tensorboard"])
    assert trackers.chosen(None) == ("tensorboard",)
    assert trackers.chosen(("none",)) == ()
    with pytest.raises(FairbenchError, match=r"^--track mlflow needs a package .*: run pip install mlflow\.$"):
        trackers.chosen(("tensorboard", "mlflow"))
    with pytest.raises(FairbenchError, match=r"there is no tracker 'tensorbord' \(did you mean 'tensorboard'\?\)"):
        trackers.chosen(("tensorbord",))
    for names in ((), ("none", "tensorboard")):
        with pytest.raises(FairbenchError, match=r"name tensorboard, .* or `none` alone"):
            trackers.chosen(names)
    monkeypatch.setattr(tracking, "_available_trackers", [])
    assert trackers.chosen(None) == ()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / trackers.FILE).write_text('{"wandb": 3}')
    with pytest.raises(FairbenchError, match=r"tracking\.json cannot be read .*: remove it"):
        written(tmp_path, range(1))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text("{")
    with pytest.raises(FairbenchError, match=METRICS):
        Records(tmp_path, tmp_path / "state", 3)


def test_trackio_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as it keeps threads and a hook at the end of one: a local database, no network."""
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "database"))
    (out := tmp_path / "=out").mkdir()
    code = (
        "import sys; from pathlib import Path; from tests.training.test_records import written;"
        "out = Path(sys.argv[1]); written(out, range(6), 0, ('trackio',));"
        "written(out, range(4, 8), 4, ('trackio',)); print('done')"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("done")  # what trackio says stays off the standard output
    with sqlite3.connect(tmp_path / "database" / "fairbench.db") as database:
        table = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step, id").fetchall()
    logged = [(run, step, json.loads(figures)) for run, step, figures in table]
    assert len({run for run, _, _ in logged}) == 1
    assert logged[0][0].startswith("=out-")
    losses = [(step, figures["loss"]) for _, step, figures in logged if "loss" in figures]
    assert losses == [(step, pytest.approx(1.0 / (1 + step))) for step in range(8)]
    assert [step for _, step, figures in logged if "eval/rd" in figures] == [0, 2, 4, 6]
