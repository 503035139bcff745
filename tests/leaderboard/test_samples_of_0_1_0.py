"""What fairbench 0.1.0 wrote is read, upgraded and verified: a leaderboard with its evidence, and a run folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fairbench.errors import FairbenchError
from fairbench.leaderboard import board, columns
from fairbench.registry import resolve, suggest
from fairbench.storage import schemas
from fairbench.storage.renamed import current, of_0_1_0
from tests.conftest import ROOT, Result

SAMPLES = ROOT / "tests" / "data" / "fairbench-0.1.0"
Cli = Callable[..., Result]


def test_names_of_0_1_0() -> None:
    pairs = {
        "sq": "concentration",
        "sq corrected": "concentration corrected",
        "gender_x_race4.sq-corrected.low": "gender_x_race4.concentration-corrected.low",
        "gender.rd@n0": "gender.rd@n0",
        "squared": "squared",
    }
    for before, today in pairs.items():
        assert (current(before), current(today), of_0_1_0(today)) == (today, today, before)


def test_a_leaderboard_of_0_1_0_is_verified_and_written_with_the_names_of_today(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "board.csv"
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    assert "gender.sq-corrected.low" in path.read_text()
    verdict = cli("leaderboard", "verify", path, "--strict")
    assert verdict.code == 0, verdict.out + verdict.err
    assert "written by an earlier version" in verdict.out and "leaderboard upgrade" in verdict.out
    # The columns that came between: today's names, without what was added later.
    header, line = path.read_text().splitlines()
    between = tmp_path / "between.csv"
    between.write_text("\n".join([header.replace("sq", "concentration"), line.replace("sq", "concentration")]) + "\n")
    assert cli("leaderboard", "verify", between, "--strict").code == 0
    tampered = line.split(",")
    tampered[header.split(",").index("gender.sq")] = "0.9"
    between.write_text("\n".join([header, ",".join(tampered)]) + "\n")
    assert "gender.concentration  " in cli("leaderboard", "verify", between, "--strict").out
    (before,) = board.read(path)
    assert "gender.concentration-corrected: nothing varies" in before["missing"]
    assert cli("leaderboard", "add", tmp_path / "run", "--csv", path).code == 0
    header, line = path.read_text().splitlines()
    assert header == ",".join(columns.COLUMNS)
    assert ".sq" not in header + line
    (after,) = board.read(path)
    # By whom and when the row was written, and what was not there or computed otherwise.
    ignored = {"date", "fairbench"}.union(*(step.not_comparable for step in columns.STEPS))
    assert {c: x for c, x in after.items() if c not in ignored} == {c: x for c, x in before.items() if c not in ignored}
    assert (before["gender.concentration.prompts"], after["gender.concentration.prompts"]) == ("", "2")
    assert cli("leaderboard", "verify", path, "--strict").code == 0


def test_the_columns_of_every_version_are_read_under_todays(tmp_path: Path) -> None:
    """0.1.0 said sq; fairness through the labeller, and what the card says, came later. No other is a leaderboard."""
    earliest, second, third, fourth, today = columns._headers()
    assert third == tuple((SAMPLES.parent / "fairbench-0.2.0" / "board.csv").read_text().splitlines()[0].split(","))
    assert earliest == tuple((SAMPLES / "board.csv").read_text().splitlines()[0].split(","))
    assert second == tuple(name.replace("sq", "concentration") for name in earliest)
    assert today == columns.COLUMNS and set(today) - set(fourth) == columns.STEPS[-1].new_columns
    values = dict.fromkeys(today, "") | {"source": "measured", "gender.concentration": "0.5", "run_id": "a" * 32}
    for header in (earliest, second, third, fourth, today):
        stored = {name: values[current(name)] for name in header} | {"missing": f"{header[25]}: too few"}
        path = tmp_path / "board.csv"
        path.write_text(f"{','.join(header)}\n{','.join(stored.values())}\n")
        (row,) = board.read(path)
        assert row == values | {"missing": f"{current(header[25])}: too few"}
        assert list(row) == list(today)
        path.write_text(",".join(header[:-1]) + "\n")
        with pytest.raises(FairbenchError, match="the columns are not those of a leaderboard"):
            board.read(path)


def test_an_earlier_leaderboard_is_upgraded(cli: Cli, tmp_path: Path) -> None:
    """Every row that has evidence is computed again; what evidence does not hold stays, as does a row without it."""
    path = tmp_path / "board.csv"
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    header, row = path.read_text().splitlines()
    (run_id,) = (p.name for p in (tmp_path / "evidence").iterdir())
    path.write_text("\n".join([header, row, row.replace(run_id, "0" * 32)]) + "\n")
    before = board.read(path)
    upgraded = cli("leaderboard", "upgrade", path, "--json")
    assert json.loads(upgraded.out)["computed"] == {run_id: True, "0" * 32: False}
    after = {r["run_id"]: r for r in board.read(path)}
    assert path.read_text().splitlines()[0] == ",".join(columns.COLUMNS)
    assert after[run_id]["gender.concentration.prompts"] == "2" and after[run_id]["date"] == before[0]["date"]
    assert {**after["0" * 32], **dict.fromkeys(columns.RANKS)} == {**before[1], **dict.fromkeys(columns.RANKS)}
    shutil.rmtree(tmp_path / "evidence" / run_id / "evidence" / "labels")
    stored = path.read_bytes()
    broken = cli("leaderboard", "upgrade", path)
    assert (broken.code, path.read_bytes()) == (2, stored)


def test_metrics_of_0_1_0_are_upgraded(tmp_path: Path) -> None:
    path = SAMPLES / "run" / "metrics.parquet"
    stored = pq.read_table(path)
    assert not schemas.is_current("metrics", stored.schema, str(path))
    table = schemas.check("metrics", schemas.upgrade("metrics", stored, str(path)))
    names = stored["metric"].to_pylist()
    assert table["metric"].to_pylist() == ["concentration" if name == "sq" else name for name in names]
    assert table.drop_columns("metric").to_pylist() == stored.drop_columns("metric").to_pylist()


def test_a_run_of_0_1_0_compares_with_its_evidence(cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "run", tmp_path / "again")
    compared = cli("compare", SAMPLES / "run", tmp_path / "again", "--out", "out", "--json")
    assert compared.code == 0, compared.err
    effects = [e for e in json.loads(compared.out)["effects"] if e["estimand"] == "concentration"]
    assert effects and all(e["effect"] == 0 for e in effects)


def test_the_old_name_is_an_error_that_names_the_new_one(cli: Cli) -> None:
    assert "The estimate 'sq' is called 'concentration' now" in cli("show", "metric", "sq").err
    with pytest.raises(FairbenchError, match="'sq' is called 'concentration' now; every run has it"):
        resolve("metrics", "sq")
    assert suggest("sq", ["rd", "concentration"]) == " (it is called 'concentration' now)"
    assert "concentration" not in suggest("sq", ["square"])
