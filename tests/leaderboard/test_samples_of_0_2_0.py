"""What fairbench 0.2.0 wrote is read, ranked, verified and upgraded: one run under two calibrations."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from fairbench.leaderboard import board, columns
from fairbench.leaderboard.verify import verify
from tests.builders.cli import Cli
from tests.builders.folders import ROOT

SAMPLES = ROOT / "tests" / "data" / "fairbench-0.2.0"
ADDED = ("licence", "verified", "way_in", "notices")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    return tmp_path / "board.csv"


def stored(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_read_and_ranked_as_it_was(path: Path) -> None:
    before, rows = stored(path), board.read(path)
    assert [{c: r[c] for c in before[0]} for r in rows] == before
    assert [[r[c] for c in ADDED] for r in rows] == [[""] * 4] * 2
    assert (
        board.rank(rows)
        == [{c: r[c] for c in columns.RANKS} for r in before]
        == [dict.fromkeys(columns.RANKS, "1")] * 2
    )


def test_it_is_verified_in_what_it_states(cli: Cli, path: Path) -> None:
    found = cli("leaderboard", "verify", path, "--strict")
    assert found.code == 0, found.out + found.err
    path.write_text(path.read_text().replace("photographs", "renders", 1))
    assert [(c.verdict, [d.column for d in c.differences]) for c in verify(path)] == [
        ("agrees", []),
        ("differs", ["calibration_domain"]),
    ]


def test_upgraded_it_states_what_its_evidence_holds(cli: Cli, path: Path) -> None:
    """Its evidence holds the notices, but of the model's card only the name and the weights."""
    before = {r["run_id"]: r for r in stored(path)}
    assert all(check.earlier for check in verify(path))
    upgraded = cli("leaderboard", "upgrade", path, "--json")
    assert json.loads(upgraded.out)["computed"] == dict.fromkeys(before, True)
    after = board.read(path)
    assert [[r[c] for c in ADDED] for r in after] == [["", "", "", "few-images"]] * 2
    indices = columns.STEPS[-1].new_columns
    assert all(float(r["gender.ca-mean"]) <= 1 and r["gender.mgbi"] == "" for r in after)
    ignored = {*ADDED, *indices, "fairbench"}
    assert {r["run_id"]: {c: x for c, x in r.items() if c not in ignored} for r in after} == {
        run_id: {c: x for c, x in r.items() if c not in ignored} for run_id, r in before.items()
    }
    assert not any(check.earlier for check in verify(path))
    path.write_text(path.read_text().replace("few-images", "none", 1))
    assert [d.column for check in verify(path) for d in check.differences] == ["notices"]


def test_a_row_of_which_no_evidence_says_more_is_not_called_earlier(cli: Cli, path: Path) -> None:
    """No upgrade could bring what neither the row nor its evidence states."""
    assert cli("leaderboard", "upgrade", path).code == 0
    path.write_text(path.read_text().replace("few-images", ""))
    for file in path.parent.glob("evidence/*/run.json"):
        record = json.loads(file.read_text())
        del record["notices"]
        file.write_text(json.dumps(record))
    assert [(check.verdict, check.earlier) for check in verify(path)] == [("agrees", False)] * 2
