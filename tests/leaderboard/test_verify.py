"""`fairbench leaderboard verify`: every cell is computed again from the evidence alone; what differs is named."""

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
import pyarrow.parquet as pq
import pytest

from fairbench import keys
from fairbench.leaderboard import board as leaderboard_board
from fairbench.leaderboard import columns
from tests.builders.boards import evidence, spoil, verdicts
from tests.builders.cli import Cli
from tests.builders.runs import rewrite_shard

ARGS = ("--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "2", "-n", "6", "--no-sheets")


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


def test_a_score_beyond_the_evidence_is_named_as_not_checked(cli: Cli, published_run: Path, tmp_path: Path) -> None:
    """An inception score needs a thousand numbers an image: run.json says that it was measured, no more."""
    run = tmp_path / "run"
    shutil.copytree(published_run / "run", run)
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


def test_verify_needs_no_torch(board: Path) -> None:
    code = (
        "import sys; sys.argv = ['fairbench', 'leaderboard', 'verify', 'b.csv']\n"
        "from fairbench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert not {'torch', 'onnxruntime', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=board.parent, check=True, timeout=120)
