"""A run's evidence: without pixels and weights, it gives every number of the run again; damage and lies are told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fairbench.errors import FairbenchError
from fairbench.measure import table
from fairbench.measure.table import RunNames
from fairbench.runs import evidence
from tests.builders.cli import Cli, run_quietly

RUN = ("run", "--model", "phantom-exact", "--task", "occupations-mini", "-n", "16", "--no-sheets", "--quiet")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was made: out, and its store."""
    folder = tmp_path_factory.mktemp("evidence")
    run_quietly(*RUN, "--labeller", "phantom-noisy", "--store", folder / "runs" / "store", "--out", folder / "out")
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run, with its store, which a test may spoil."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def test_every_number_comes_back_from_the_evidence(folder: Path) -> None:
    run = evidence.read(folder)
    record = run.record
    names = RunNames(run.run_id, "phantom-exact", "none", record.task.name, "phantom-noisy")
    again = table.build(names, run.prompts, run.counts, run.series, run.estimates())
    assert again.equals(pq.read_table(folder / "metrics.parquet"))
    assert record.correction is not None and run.correction.assumptions == record.correction.assumptions


def test_the_evidence_holds_no_pixels_and_is_written_once(cli: Cli, folder: Path) -> None:
    before = sorted(p.relative_to(folder) for p in (folder / "evidence").rglob("*.parquet"))
    assert sum(p.stat().st_size for p in (folder / "evidence").rglob("*")) < 200_000
    images = pq.read_table(next((folder / "evidence" / "images").rglob("*.parquet")))
    assert images["image"].null_count == len(images)
    assert cli(*RUN, "--out", "out", "--labeller", "phantom-noisy").code == 0
    assert sorted(p.relative_to(folder) for p in (folder / "evidence").rglob("*.parquet")) == before


def test_a_split_run_has_the_evidence_of_a_whole_one(cli: Cli, folder: Path) -> None:
    """Shards made by two processes, in other blocks: the same rows, so the same files."""
    names = sorted(p.name for p in (folder / "evidence").rglob("labels/*/*.parquet"))
    more = ("--store", "other", "--labeller", "phantom-noisy", "--batch-size", "5")
    for part in ("1/2", "0/2"):
        assert cli(*RUN, *more, "--shard", part).code == 0
    assert cli(*RUN, *more, "--out", "joined").code == 0
    assert sorted(p.name for p in Path("joined/evidence").rglob("labels/*/*.parquet")) == names


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "run.json").unlink(), "run.json cannot be read"),
        (lambda f: (f / "run.json").write_text("{"), "run.json is not JSON"),
        (lambda f: (f / "run.json").write_text("[]"), "field run_id"),
        (lambda f: shutil.rmtree(f / "evidence"), "the run is older than this version"),
        (lambda f: shutil.rmtree(f / "evidence" / "images"), "does not hold the images"),
        (lambda f: (f / "prompts.parquet").write_bytes(b"x"), "prompts.parquet cannot be read"),
        (lambda f: (f / "evidence" / "calibration.json").write_text("{}"), "calibration.json is no calibration file"),
    ],
)
def test_a_folder_that_is_no_whole_run_is_refused(folder: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(folder)
    with pytest.raises(FairbenchError, match=words):
        evidence.read(folder)


def test_a_run_record_that_lacks_its_keys_is_refused(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    del record["keys"]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(FairbenchError, match=r"run\.json, field keys: this field is required; do the run again"):
        evidence.read(folder)
