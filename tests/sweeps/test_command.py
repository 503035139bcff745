"""`fairbench sweep` on the phantom: one step per training, a few images, all files; stopped, and begun again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairbench.errors import FairbenchError
from fairbench.storage import atomic
from fairbench.sweeps import design
from fairbench.training import finetune
from tests.builders.balanced import save_balanced
from tests.builders.cli import Cli, run_quietly

SHORT = (
    *("sweep", "--model", "phantom", "--train", "sft", "--retain", "0,.5", "--control", "none", "--seeds", "2"),
    *("--budget", "steps:1", "--batch", "2", "--task", "phantom-mitigation-unseen"),
    *("--judge-task", "phantom-mitigation-seen", "-n", "6", "--limit-prompts", "1", "--samples", "2", "--quiet"),
)
RUNS = 3 * 2
"""The model itself and two arms, each with two seeds."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep, with set/ and store/ beside it."""
    folder = tmp_path_factory.mktemp("sweep")
    save_balanced(folder / "set", side=64, per_group=1)
    run_quietly(*_command(folder))
    return folder / "out"


def _command(folder: Path) -> list[str]:
    return [*SHORT, "--data", str(folder / "set"), "--store", str(folder / "store"), "--out", str(folder / "out")]


def _record(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "sweep.json").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_what_is_written(swept: Path) -> None:
    record = _record(swept)
    assert [(arm["name"], arm["steps"]) for arm in record["arms"]] == [("sft-0", 1), ("sft-0.5", 1)]  # type: ignore[attr-defined]
    axes = [axis["name"] for axis in record["axes"]]  # type: ignore[attr-defined]
    assert {"bias", "worst-contexts", "no-face-rate", "clip_score", "stereotyped-answers"} <= set(axes)
    assert "following of stated groups" in record["left_out"]  # type: ignore[operator]
    with (swept / "sweep.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == RUNS * len(axes)
    bias = [row for row in rows if (row["arm"], row["axis"]) == ("sft-0.5", "bias")]
    assert {row["task"] for row in bias} == {"phantom-mitigation-seen"}
    mean = sum(float(row["value"]) for row in bias) / 2
    assert float(bias[0]["mean"]) == pytest.approx(mean)
    assert float(bias[0]["low"]) <= mean <= float(bias[0]["high"])
    page = (swept / "page.html").read_text(encoding="utf-8")
    assert "an analogue; it neither confirms nor refutes FairReason" in page
    assert (swept / "page" / "charts" / "pareto.svg").stat().st_size > 1000


@pytest.mark.slow
def test_its_leaderboard_is_computed_again_from_the_evidence(cli: Cli, swept: Path) -> None:
    (board,) = (swept / "leaderboards").glob("*.csv")
    checks = cli("leaderboard", "verify", board, "--json").json()
    assert len(checks["rows"]) == RUNS
    assert {row["verdict"] for row in checks["rows"]} == {"agrees"}


@pytest.mark.slow
def test_begun_again_it_trains_nothing_and_writes_the_same(
    cli: Cli, swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("trained again")

    before = {name: (swept / name).read_bytes() for name in ("sweep.json", "sweep.csv", "page.html")}
    monkeypatch.setattr(finetune, "_load", load)
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli(*_command(swept.parent)).succeeded()
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "No arm is shown to be dominated" in shown.out or "is shown to be dominated by" in shown.out
    assert {name: (swept / name).read_bytes() for name in before} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--budget", "steps:2"), "holds another sweep (budget steps:1 there, steps:2 here): name another folder."),
        (("--seeds", "3"), "holds another sweep (seeds [0, 1] there, [0, 1, 2] here)"),
        (("--judge-task", "phantom-mitigation-unseen"), "is what an arm is chosen on: judge on other prompts"),
        (("--batch", "4"), "(trainings sft-0 batch 2 there, 4 here; trainings sft-0.5 batch 2 there, 4 here)"),
        (("--arm", "sft:.8"), "(trainings sft-0.8 is here alone)"),
        (("--data-seconds", "nan"), "Invalid value for '--data-seconds'"),
        (("--data-seconds", "inf"), "--data-seconds inf: name a number of seconds, 0 or more."),
        (("--attribute", "age"), "--attribute age: phantom gives no such attribute or cross, but gender, race4"),
        (("--model", "phantom-exact"), "cannot be fine-tuned"),
    ],
)
def test_another_sweep_is_refused(cli: Cli, swept: Path, change: tuple[str, str], sentence: str) -> None:
    before = _record(swept)
    failed = cli(*_command(swept.parent), *change)
    assert (failed.code, failed.out) == (2, "")
    assert sentence in " ".join(failed.err.split())
    assert _record(swept) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("sweep-plan.json", None, "sft-0-seed-0 holds the adapter of another training (steps 1 there, 2 here)"),
        ("seconds/sft-0-seed-1.json", "{}", "sft-0-seed-1.json does not hold begun, seconds, finished as a sweep"),
        ("seconds/sft-0-seed-1.json", "[1]", "sft-0-seed-1.json does not hold begun, seconds, finished as a sweep"),
        ("seconds/sft-0-seed-1.json", "{", "sft-0-seed-1.json is not JSON"),
    ],
)
def test_a_finished_training_is_looked_at(cli: Cli, swept: Path, file: str, content: str | None, sentence: str) -> None:
    path = swept / file
    before = path.read_text()
    path.write_text(before.replace('"steps": 1', '"steps": 2') if content is None else content)
    try:
        failed = cli(*_command(swept.parent))
    finally:
        path.write_text(before)
    assert (failed.code, failed.out) == (2, "")
    assert sentence in " ".join(failed.err.split())


def test_a_folder_of_something_else_is_refused(cli: Cli, swept: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    failed = cli(*_command(swept.parent), "--out", tmp_path)
    assert failed.code == 2
    assert "holds files that are not a sweep (mine.txt)" in " ".join(failed.err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.long
def test_killed_anywhere_it_ends_as_if_it_had_not_been(swept: Path, tmp_path: Path) -> None:
    os.symlink(swept.parent / "set", tmp_path / "set")
    command = [sys.executable, "-m", "fairbench", *_command(tmp_path)]
    for seconds in _growing():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            continue
        assert process.returncode == 0, errors.decode()
        break
    ours, whole = _record(tmp_path / "out"), _record(swept)
    for record in (ours, whole):
        for arm in record["arms"]:  # type: ignore[attr-defined]
            del arm["seconds"]
    assert ours == whole
    assert not [*(tmp_path / "out").rglob(".fairbench-pending")]


def _growing() -> Iterator[float]:
    """Yield how long a process may live: a little longer each time, so that kills come everywhere."""
    seconds, began = 6.0, time.monotonic()
    while time.monotonic() - began < 1800:
        yield seconds
        seconds *= 1.25


def test_a_file_that_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert design.once(path, lambda: {"steps": 3}) == {"steps": 3}
    assert design.once(path, lambda: {"steps": 4}) == {"steps": 3}
    atomic.write_text(path, "{")
    with pytest.raises(FairbenchError, match="is not JSON"):
        design.once(path, dict)
