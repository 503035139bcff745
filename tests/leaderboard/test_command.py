"""`fairbench leaderboard`: a row is added with its evidence, shown, and computed again from that evidence alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from fairbench.leaderboard import board as leaderboard_board
from fairbench.leaderboard import columns
from fairbench.leaderboard import evidence as leaderboard_evidence
from fairbench.leaderboard import row as leaderboard_row
from tests.builders.boards import evidence, verdicts
from tests.builders.cli import Cli
from tests.builders.folders import ROOT
from tests.builders.runs import rewrite_shard

ARGS = ("--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "2", "-n", "6", "--no-sheets")


def test_run_and_add_give_the_same_row(cli: Cli, published_run: Path, board: Path, tmp_path: Path) -> None:
    found = cli("run", *ARGS, "--store", published_run / "store", "--out", "out", "--csv", tmp_path / "other" / "b.csv")
    assert found.code == 0, found.err
    assert cli("leaderboard", "add", "out", "--leaderboard", tmp_path / "other" / "b.csv").code == 0
    ((ours,), (theirs,)) = leaderboard_board.read(board), leaderboard_board.read(tmp_path / "other" / "b.csv")
    assert {**ours, "date": ""} == {**theirs, "date": ""}
    assert evidence(tmp_path / "other" / "b.csv").name == evidence(board).name == ours["run_id"]
    assert (ours["model"], ours["labeller"], ours["quota"]) == ("phantom-exact", "phantom", "no")
    assert (ours["prompts"], ours["n_requested"], ours["n_images"], ours["n0"]) == ("2", "12", "12", "3")
    assert (ours["rank"], ours["rank.low"], ours["rank.high"]) == ("1", "1", "1")
    assert (ours["licence"], ours["verified"], ours["way_in"]) == ("Apache-2.0", "", "native")
    assert ours["notices"] == "few-images"
    assert 0 <= float(ours["gender.rd"]) <= 1 == float(ours["gender.rd.ceiling"])
    assert (
        float(ours["gender.concentration.low"])
        <= float(ours["gender.concentration"])
        <= float(ours["gender.concentration.high"])
    )
    assert len(ours["labels_sha256"]) == len(ours["calibration_sha"]) == 64
    assert ours["race7.rd"] == ""


def test_a_row_states_what_the_run_printed(published_run: Path, board: Path) -> None:
    (row,) = leaderboard_board.read(board)
    table = pq.read_table(published_run / "run" / "metrics.parquet")
    values = {
        (r["attribute"], r["metric"], r["estimate"]): r
        for r in table.filter(pc.equal(table["scope"], "task")).to_pylist()
    }
    for attribute in ("gender", "race4", "gender_x_race4"):
        for name, (metric, estimate, field) in columns.MEASURES.items():
            value = values.get((attribute, metric, estimate), {}).get(field)
            assert row[f"{attribute}.{name}"] == ("" if value is None else f"{value:.6g}")


def test_two_calibrations_of_one_run_are_two_rows_and_one_rank(
    cli: Cli, published_run: Path, board: Path, tmp_path: Path
) -> None:
    """Cards with the same weights: the labels, and so the ranked values, are the same."""
    labeller = yaml.safe_load((ROOT / "models" / "labellers" / "phantom.yaml").read_text())
    folder = (ROOT / "models" / "labellers").resolve()
    calibration = json.loads((folder / labeller["calibration"]).read_text())
    calibration |= {"labeller": "flip", "domain": "photographs"}
    calibration["counts"][0][1] += 9  # other errors: another calibration, and so another run of the same labels
    (tmp_path / "flip.json").write_text(json.dumps(calibration))
    for part in (labeller["routes"][0]["detector"], labeller["classifiers"][0]):
        part["weights"]["path"] = str((folder / part["weights"]["path"]).resolve())
    (tmp_path / "flip.yaml").write_text(yaml.safe_dump({**labeller, "name": "flip", "calibration": "flip.json"}))
    options = ("--store", published_run / "store", "--labeller", "flip.yaml", "--out", "flip", "--leaderboard", board)
    cli("run", *ARGS, *options).succeeded()
    first, second = leaderboard_board.read(board)
    assert {first["labeller"], second["labeller"]} == {"phantom", "flip"}
    assert first["labels_sha256"] == second["labels_sha256"] and first["labeller_id"] == second["labeller_id"]
    assert first["calibration_sha"] != second["calibration_sha"]
    assert [tuple(r[c] for c in columns.RANKS) for r in (first, second)] == [("1", "1", "1")] * 2
    shown = " ".join(cli("leaderboard", "show", board).out.split())
    known = (first["calibration_sha"][:8], second["calibration_sha"][:8])
    assert all(shown.count(f"({sha})") >= 2 for sha in known) and "= phantom-exact" not in shown
    assert f"read by {first['labeller']} and {second['labeller']}, calibration {known[0]} on" in shown
    by_calibration = {r["calibration_sha"]: r["run_id"] for r in (first, second)}
    assert json.loads(cli("leaderboard", "show", board, "--json").out)["merged"] == [[by_calibration]]
    assert verdicts(cli, board)[0] == 0


def test_add_show_verify(cli: Cli, published_run: Path, tmp_path: Path) -> None:
    found = cli("leaderboard", "add", published_run / "run")
    assert found.code == 0, found.err
    board = tmp_path / "leaderboards" / "occupations-mini-v1.csv"
    assert (evidence(board) / "prompts.parquet").is_file()
    told = cli("leaderboard", "verify", board)
    assert told.code == 0
    assert "agrees" in told.out
    shown = cli("leaderboard", "show", board)
    assert shown.code == 0
    assert all(word in shown.out for word in ("phantom-exact", "gender x race", "never anyone's identity"))
    summary = json.loads(cli("leaderboard", "show", board, "--json").out)
    assert summary["measured"][0][0]["rank"] == 1
    assert isinstance(summary["measured"][0][0]["gender.concentration"], float)
    assert summary["published"] == []


def test_published_rows_stand_apart(cli: Cli) -> None:
    path = ROOT / "leaderboards" / "occupations-v1.csv"
    rows = json.loads(cli("leaderboard", "show", path, "--json").out)["published"]
    assert rows
    assert all(r["rank"] is None and r["published_in"] for r in rows)
    assert "never ranked" in cli("leaderboard", "show", path).out
    assert all(row["verdict"] in {"agrees", "unverifiable"} for row in verdicts(cli, path)[1])


def test_copied_evidence_tells_nothing_of_the_machine(cli: Cli, published_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(published_run / "run", run)
    record = json.loads((run / "run.json").read_text())
    record["labeller"]["classifiers"][0]["weights"]["path"] = "/home/somebody/weights.onnx"
    record["labeller"]["notes"] = "see /home/somebody/notes.md, ~/secret/x, C:\\Users\\me\\y and https://a.org/b/c"
    record["model"]["weights"] = {"repo": None, "revision": None, "path": "/home/somebody/model"}
    record["failures"] = [{"error": "/home/somebody/x.png cannot be decoded"}]
    (run / "run.json").write_text(json.dumps(record))
    calibration = run / "evidence" / "calibration.json"
    told = json.loads(calibration.read_text())
    told["command"] = "fairbench calibrate --images /home/somebody/faces.csv"
    calibration.write_text(json.dumps(told))
    (shard,) = (run / "evidence" / "images").glob("*/*.parquet")

    def fail(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[0] |= {"error": "/home/somebody/x.png cannot be decoded"}
        return pa.Table.from_pylist(rows, table.schema)

    rewrite_shard(shard, fail)
    assert cli("leaderboard", "add", run, "--csv", "b.csv").code == 0
    assert leaderboard_board.read(Path("b.csv"))[0]["revision"] == "local"
    for path in evidence(Path("b.csv")).rglob("*"):
        assert not path.is_file() or not {b"somebody", b"secret", b"Users"} & set(path.read_bytes().split(b"/"))
        if path.suffix == ".json":
            text = path.read_text()
            assert not [w for w in ("/home", "somebody", "secret", "Users", str(tmp_path)) if w in text]
    notes = json.loads((evidence(Path("b.csv")) / "run.json").read_text())["labeller"]["notes"]
    assert notes == "see notes.md, x, y and https://a.org/b/c"
    (copied,) = (evidence(Path("b.csv")) / "evidence" / "images").glob("*/*.parquet")
    assert pq.read_table(copied)["error"].null_count == 12
    assert verdicts(cli, "b.csv")[0] == 0


def test_a_killed_add_leaves_no_row(
    cli: Cli, published_run: Path, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = board.read_bytes()
    kept = evidence(board)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(leaderboard_evidence, "public_record", killed)  # all but run.json is written by then
        with pytest.raises(KeyboardInterrupt):
            leaderboard_row.add_run(board, leaderboard_evidence.open_run(published_run / "run"))
        with pytest.raises(KeyboardInterrupt):
            leaderboard_row.add_run(tmp_path / "x" / "new.csv", leaderboard_evidence.open_run(published_run / "run"))
    assert board.read_bytes() == before
    assert not (tmp_path / "x" / "new.csv").exists()
    assert verdicts(cli, board)[0] == 0  # the old evidence is whole
    assert cli("leaderboard", "add", published_run / "run", "--csv", board).code == 0
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]


def test_add_without_evidence(cli: Cli, published_run: Path, tmp_path: Path) -> None:
    assert cli("leaderboard", "add", published_run / "run", "--csv", "b.csv", "--no-evidence").code == 0
    assert not (tmp_path / "evidence").exists()
    assert verdicts(cli, "b.csv")[1][0]["verdict"] == "unverifiable"


def test_what_is_no_run_is_one_sentence(cli: Cli, published_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    for args, words in (
        (("add", "absent"), "name the folder of a finished run"),
        (("add", "empty"), "name the folder of a finished run"),
        (("add", published_run / "run", "--csv", "wrong.csv"), "the columns are not those of a leaderboard"),
        (("show", "absent.csv"), "There is no leaderboard absent.csv here: name its CSV"),
        (("show",), "There is no leaderboard leaderboards/occupations-v1.csv here"),
        (("verify", "wrong.csv"), "the columns are not those of a leaderboard"),
    ):
        found = cli("leaderboard", *args)
        assert (found.code, found.out) == (2, "")
        assert words in found.err
        assert "Traceback" not in found.err
    assert not (tmp_path / "leaderboards").exists()
    assert not (tmp_path / "evidence").exists()
