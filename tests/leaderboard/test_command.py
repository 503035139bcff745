"""`fairbench leaderboard`: a row is added with its evidence, shown, and computed again from that evidence alone."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from fairbench import keys
from fairbench.leaderboard import board as leaderboard_board
from fairbench.leaderboard import columns
from fairbench.leaderboard import evidence as leaderboard_evidence
from fairbench.leaderboard import row as leaderboard_row
from tests.builders.cli import Cli
from tests.builders.folders import ROOT
from tests.builders.runs import finished_run, rewrite_shard

ARGS = ("--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "2", "-n", "6", "--no-sheets")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two prompts, with its store beside it."""
    folder = tmp_path_factory.mktemp("made")
    finished_run(folder / "run", limit_prompts=2, images_per_prompt=6)
    return folder


@pytest.fixture(scope="module")
def published(made: Path) -> Path:
    """A leaderboard with the run's row and evidence: b.csv and evidence/."""
    folder = made / "published"
    leaderboard_row.add_run(folder / "b.csv", leaderboard_evidence.open_run(made / "run"))
    return folder


@pytest.fixture
def board(published: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil, and the path of its CSV."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    return tmp_path / "b.csv"


def evidence(board: Path) -> Path:
    (folder,) = (board.parent / "evidence").iterdir()
    return folder


def spoil(board: Path, column: str, value: str) -> None:
    (row,) = leaderboard_board.read(board)
    board.write_text(leaderboard_board.render([{**row, column: value}]))


def verdicts(cli: Cli, *args: str | Path) -> tuple[int, list[dict[str, Any]]]:
    found = cli("leaderboard", "verify", *args, "--json")
    assert "Traceback" not in found.err
    return found.code, json.loads(found.out)["rows"]


def test_run_and_add_give_the_same_row(cli: Cli, made: Path, board: Path, tmp_path: Path) -> None:
    found = cli("run", *ARGS, "--store", made / "store", "--out", "out", "--csv", tmp_path / "other" / "b.csv")
    assert found.code == 0, found.err
    assert cli("leaderboard", "add", "out", "--leaderboard", tmp_path / "other" / "b.csv").code == 0
    ((ours,), (theirs,)) = leaderboard_board.read(board), leaderboard_board.read(tmp_path / "other" / "b.csv")
    assert {**ours, "date": ""} == {**theirs, "date": ""}
    assert evidence(tmp_path / "other" / "b.csv").name == evidence(board).name == ours["run_id"]
    assert (ours["model"], ours["labeller"], ours["quota"]) == ("phantom-exact", "phantom", "no")
    assert (ours["prompts"], ours["n_requested"], ours["n_images"], ours["n0"]) == ("2", "12", "12", "3")
    assert (ours["rank"], ours["rank.low"], ours["rank.high"]) == ("1", "1", "1")
    assert 0 <= float(ours["gender.rd"]) <= 1 == float(ours["gender.rd.ceiling"])
    assert (
        float(ours["gender.concentration.low"])
        <= float(ours["gender.concentration"])
        <= float(ours["gender.concentration.high"])
    )
    assert len(ours["labels_sha256"]) == len(ours["calibration_sha"]) == 64
    assert ours["race7.rd"] == ""


def test_a_row_states_what_the_run_printed(made: Path, board: Path) -> None:
    (row,) = leaderboard_board.read(board)
    table = pq.read_table(made / "run" / "metrics.parquet")
    values = {
        (r["attribute"], r["metric"], r["estimate"]): r
        for r in table.filter(pc.equal(table["scope"], "task")).to_pylist()
    }
    for attribute in ("gender", "race4", "gender_x_race4"):
        for name, (metric, estimate, field) in columns.MEASURES.items():
            value = values.get((attribute, metric, estimate), {}).get(field)
            assert row[f"{attribute}.{name}"] == ("" if value is None else f"{value:.6g}")


def test_two_calibrations_of_one_run_are_two_rows_and_one_rank(
    cli: Cli, made: Path, board: Path, tmp_path: Path
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
    options = ("--store", made / "store", "--labeller", "flip.yaml", "--out", "flip", "--leaderboard", board)
    cli("run", *ARGS, *options).succeeded()
    first, second = leaderboard_board.read(board)
    assert {first["labeller"], second["labeller"]} == {"phantom", "flip"}
    assert first["labels_sha256"] == second["labels_sha256"] and first["labeller_id"] == second["labeller_id"]
    assert first["calibration_sha"] != second["calibration_sha"]
    assert [tuple(r[c] for c in columns.RANKS) for r in (first, second)] == [("1", "1", "1")] * 2
    shown = " ".join(cli("leaderboard", "show", board).out.split())
    assert (
        "read by flip, calibration" in shown and "on photographs" in shown and "read by phantom, calibration" in shown
    )
    assert verdicts(cli, board)[0] == 0


def test_add_show_verify(cli: Cli, made: Path, tmp_path: Path) -> None:
    found = cli("leaderboard", "add", made / "run")
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


def test_cells_that_differ_are_named(cli: Cli, board: Path) -> None:
    (before,) = leaderboard_board.read(board)
    assert verdicts(cli, board) == (
        0,
        [
            {
                "line": 2,
                "run_id": before["run_id"],
                "model": "phantom-exact",
                "method": "none",
                "verdict": "agrees",
                "differences": [],
                "reason": None,
                "not_checked": [],
                "earlier": False,
            }
        ],
    )
    wrong = {
        "rank": "7",
        "model": "another",
        "revision": "abc",
        "calibration_domain": "photographs",
        "n_faces": "11",
        "gender.concentration": "0.123",
        "gender_x_race4.rd.floor": "",
        "clip_score": "31.4",
        "missing": "nothing",
        "labels_sha256": "0" * 64,
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, columns.COLUMNS)
    writer.writeheader()
    writer.writerow({**before, **wrong, "date": "1999-01-01"})  # a date is nothing that can be computed
    board.write_text(text.getvalue())
    code, (row,) = verdicts(cli, board)
    assert (code, row["verdict"]) == (1, "differs")
    assert row["differences"] == [{"column": c, "stated": v, "recomputed": before[c]} for c, v in wrong.items()]


def test_rounding_is_no_difference(cli: Cli, board: Path) -> None:
    (before,) = leaderboard_board.read(board)
    value = float(before["gender.concentration.error"])
    spoil(board, "gender.concentration.error", f"{value * (1 + 5e-6):.7g}")
    assert leaderboard_board.read(board)[0]["gender.concentration.error"] != before["gender.concentration.error"]
    assert verdicts(cli, board)[0] == 0


def test_a_changed_label_table_is_found(cli: Cli, board: Path) -> None:
    """Also where its file has the name that its new bytes ask for."""

    def relabel(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        first = next(r for r in rows if r["attribute"] == "gender")
        first["label"] = "male" if first["label"] == "female" else "female"
        return pa.Table.from_pylist(rows, table.schema)

    (shard,) = (evidence(board) / "evidence" / "labels").glob("*/*.parquet")
    rewrite_shard(shard, relabel)
    code, (row,) = verdicts(cli, board)
    assert (code, row["verdict"]) == (1, "differs")
    assert {"gender.rd", "labels_sha256"} <= {d["column"] for d in row["differences"]}


def test_damaged_evidence_is_a_verdict(cli: Cli, board: Path) -> None:
    (shard,) = (evidence(board) / "evidence" / "labels").glob("*/*.parquet")
    shard.write_bytes(shard.read_bytes()[:-9])
    code, (row,) = verdicts(cli, board)
    assert (code, row["verdict"]) == (1, "damaged")
    assert shard.name in row["reason"]
    assert "damaged" in cli("leaderboard", "verify", board).out
    found = cli("leaderboard", "add", evidence(board), "--csv", "new.csv")
    assert (found.code, Path("new.csv").exists(), found.err.count("is damaged")) == (2, False, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(run_id="0" * 32), "field run_id"),
        (lambda r: r["declared"].update(seed=5), "field run_id"),
        (lambda r: r["labeller"]["face_policy"].update(min_prob=0.9), "field declared.face_policy"),
        (lambda r: r.pop("labeller_id"), "field labeller_id"),
        (lambda r: r["keys"].update(labels="../../../etc"), "field keys.labels"),
        (lambda r: r["declared"].update(references=3), "field declared.references"),
        (lambda r: r["declared"].clear(), "field declared.model"),
        (lambda r: r.update(labeller_id="0" * 12), "field labeller_id"),
        (lambda r: r.update(quota=True), "field quota: none says false"),
        (lambda r: r["labeller_parts"]["detectors"].clear(), "field keys.faces"),
        (lambda r: r["labeller_parts"]["attributes"].pop("gender"), "field labeller_parts"),
        (lambda r: r["labeller"]["attributes"]["gender"]["labels"].reverse(), "field labeller_parts"),
        (lambda r: r["statuses"]["faces"].update(no_face=7), "run.json counted"),
        (lambda r: r.clear(), "field run_id"),
    ],
)
def test_a_run_json_that_lies_is_a_verdict(
    cli: Cli, board: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    path = evidence(board) / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    code, (row,) = verdicts(cli, board)
    assert (code, row["verdict"]) == (1, "damaged")
    assert words in row["reason"]


def test_evidence_of_another_run_is_a_verdict(cli: Cli, board: Path) -> None:
    evidence(board).rename(board.parent / "evidence" / ("0" * 32))
    spoil(board, "run_id", "0" * 32)
    code, (row,) = verdicts(cli, board)
    assert (code, row["verdict"]) == (1, "damaged")
    assert "is that of run" in row["reason"]


def test_a_row_without_evidence_is_unverifiable(cli: Cli, board: Path, tmp_path: Path) -> None:
    assert verdicts(cli, board, "--labels", evidence(board).parent)[0] == 0
    (tmp_path / "none").mkdir()
    code, (row,) = verdicts(cli, board, "--labels", tmp_path / "none")
    assert (code, row["verdict"]) == (0, "unverifiable")
    found = cli("leaderboard", "verify", board, "--labels", tmp_path / "none", "--strict")
    assert found.code == 1
    assert "unverifiable, without evidence: 1" in " ".join(found.out.split())
    spoil(board, "run_id", "../../outside")
    assert verdicts(cli, board)[1][0]["verdict"] == "unverifiable"
    assert cli("leaderboard", "verify", board, "--labels", tmp_path / "absent").code == 2


def test_published_rows_stand_apart(cli: Cli) -> None:
    path = ROOT / "leaderboards" / "occupations-v1.csv"
    rows = json.loads(cli("leaderboard", "show", path, "--json").out)["published"]
    assert rows
    assert all(r["rank"] is None and r["published_in"] for r in rows)
    assert "never ranked" in cli("leaderboard", "show", path).out
    assert all(row["verdict"] in {"agrees", "unverifiable"} for row in verdicts(cli, path)[1])


def test_a_score_beyond_the_evidence_is_named_as_not_checked(cli: Cli, made: Path, tmp_path: Path) -> None:
    """An inception score needs a thousand numbers an image: run.json says that it was measured, no more."""
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
    record = json.loads((run / "run.json").read_text())
    record["declared"]["scorers"] = {"inception-score": "0" * 32}
    record["run_id"] = keys.run_id(record["declared"])
    record["scorers"] = {"inception-score": {"key": "0" * 32, "backbone": "torchvision inception_v3"}}
    record["scores_without_evidence"] = ["inception-score"]
    (run / "run.json").write_text(json.dumps(record))
    table = pq.read_table(run / "metrics.parquet")
    rows = table.to_pylist()
    new = {**dict.fromkeys(table.column_names), **{c: rows[0][c] for c in ("run_id", "model", "method", "task")}}
    new |= {
        "labeller": "x",
        "metric": "inception_score",
        "metric_version": 1,
        "attribute": "quality",
        "scope": "task",
        "scope_value": "x",
        "estimate": "raw",
        "value": 2.5,
        "n_faces": 12,
    }
    pq.write_table(pa.Table.from_pylist([*rows, new], table.schema), run / "metrics.parquet")
    assert cli("leaderboard", "add", run, "--csv", "b.csv").code == 0
    (row,) = leaderboard_board.read(Path("b.csv"))
    assert (row["inception_score"], row["inception_score.n"]) == ("2.5", "12")
    code, (found,) = verdicts(cli, "b.csv")
    assert (code, found["verdict"], found["not_checked"]) == (0, "agrees", ["inception_score"])


def test_copied_evidence_tells_nothing_of_the_machine(cli: Cli, made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
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
    cli: Cli, made: Path, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = board.read_bytes()
    kept = evidence(board)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(leaderboard_evidence, "public_record", killed)  # all but run.json is written by then
        with pytest.raises(KeyboardInterrupt):
            leaderboard_row.add_run(board, leaderboard_evidence.open_run(made / "run"))
        with pytest.raises(KeyboardInterrupt):
            leaderboard_row.add_run(tmp_path / "x" / "new.csv", leaderboard_evidence.open_run(made / "run"))
    assert board.read_bytes() == before
    assert not (tmp_path / "x" / "new.csv").exists()
    assert verdicts(cli, board)[0] == 0  # the old evidence is whole
    assert cli("leaderboard", "add", made / "run", "--csv", board).code == 0
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]


def test_add_without_evidence(cli: Cli, made: Path, tmp_path: Path) -> None:
    assert cli("leaderboard", "add", made / "run", "--csv", "b.csv", "--no-evidence").code == 0
    assert not (tmp_path / "evidence").exists()
    assert verdicts(cli, "b.csv")[1][0]["verdict"] == "unverifiable"


def test_what_is_no_run_is_one_sentence(cli: Cli, made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    for args, words in (
        (("add", "absent"), "name the folder of a finished run"),
        (("add", "empty"), "name the folder of a finished run"),
        (("add", made / "run", "--csv", "wrong.csv"), "the columns are not those of a leaderboard"),
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


def test_verify_needs_no_torch(board: Path) -> None:
    code = (
        "import sys; sys.argv = ['fairbench', 'leaderboard', 'verify', 'b.csv']\n"
        "from fairbench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert not {'torch', 'onnxruntime', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=board.parent, check=True, timeout=120)
