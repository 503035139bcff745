"""Evidence from which rows were taken, or in which they were moved: every reader refuses it, and no row agrees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fairbench import keys
from fairbench.leaderboard import board as leaderboard_board
from fairbench.leaderboard import evidence as leaderboard_evidence
from fairbench.leaderboard import row as leaderboard_row
from fairbench.runs import evidence
from tests.builders.cli import Cli
from tests.builders.runs import Change, finished_run, rewrite_shard


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with scores, and a leaderboard with its row."""
    folder = tmp_path_factory.mktemp("made")
    finished_run(folder / "run", limit_prompts=2, images_per_prompt=8)
    leaderboard_row.add_run(folder / "boards" / "b.csv", leaderboard_evidence.open_run(folder / "run"))
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    for name in ("run", "boards"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "run"


def rewrite(folder: Path, stage: str, change: Change) -> None:
    """Change the only shard of a stage of the evidence."""
    (shard,) = (folder / "evidence" / stage).glob("*/*.parquet")
    rewrite_shard(shard, change)


def without(column: str, value: object) -> Change:
    return lambda table: table.filter(pc.not_equal(table[column], value))


def all_but_one(column: str) -> Change:
    return lambda table: table.filter(pc.not_equal(table[column], table[column][0]))


def balanced(table: pa.Table) -> pa.Table:
    """Keep as many faces of one gender as of the other: the lie that makes any model fair."""
    gender = table.filter(pc.equal(table["attribute"], "gender")).to_pylist()
    women = [r["face_id"] for r in gender if r["label"] == "female"]
    men = [r["face_id"] for r in gender if r["label"] == "male"]
    kept = {*women[: min(len(women), len(men))], *men[: min(len(women), len(men))]}
    return table.filter(pa.array([f in kept for f in table["face_id"].to_pylist()]))


def swapped_prompts(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    rows[0]["neutral_id"], rows[-1]["neutral_id"] = rows[-1]["neutral_id"], rows[0]["neutral_id"]
    for row in (rows[0], rows[-1]):
        row["prompt_id"] = row["neutral_id"]
    assert rows[0]["neutral_id"] != rows[-1]["neutral_id"]
    return pa.Table.from_pylist(rows, table.schema)


def as_no_face(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    rows[0] = {"image_id": rows[0]["image_id"], "status": "no_face"}
    return pa.Table.from_pylist(rows, table.schema)


def of_another_image(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    rows[0]["face_id"] = rows[1]["face_id"]
    return pa.Table.from_pylist(rows, table.schema)


LIES: dict[str, tuple[str, Change | None, str]] = {
    "no labels": ("labels", None, "has no label of"),
    "one face unlabelled": ("labels", all_but_one("face_id"), "has no label of"),
    "one attribute": ("labels", without("attribute", "gender"), "has no label of gender"),
    "balanced by leaving out": ("labels", balanced, "has no label of"),
    "no faces": ("faces", None, "has no row of faces"),
    "one image without a look": ("faces", all_but_one("image_id"), "has no row of faces"),
    "a face made absent": ("faces", as_no_face, "run.json counted"),
    "a face of another image": ("faces", of_another_image, "does not have that image's id"),
    "one image less": ("images", all_but_one("image_id"), "are not those that were asked for"),
    "images under another prompt": ("images", swapped_prompts, "is not that of its prompt and seed"),
}


@pytest.mark.parametrize("lie", LIES)
def test_no_reader_takes_thinned_evidence(cli: Cli, run: Path, lie: str) -> None:
    stage, change, words = LIES[lie]
    board = run.parent / "boards" / "b.csv"
    (copy,) = (board.parent / "evidence").iterdir()
    for folder in (run, copy):
        if change is None:
            shutil.rmtree(folder / "evidence" / stage)
        else:
            rewrite(folder, stage, change)
    before = board.read_bytes()
    for command in (("leaderboard", "add", run, "--csv", board), ("compare", run, run)):
        found = cli(*command)
        assert found.code == 2, command
        assert words in " ".join(found.err.split())
        assert "Traceback" not in found.err
    assert board.read_bytes() == before, "a good row is not replaced by blanks"
    found = cli("leaderboard", "verify", board, "--json")
    (row,) = json.loads(found.out)["rows"]
    assert (found.code, row["verdict"]) == (1, "damaged")
    assert words in row["reason"]


def test_scores_that_were_taken_out_are_missed(cli: Cli, tmp_path: Path) -> None:
    assert (
        cli(
            "run",
            "--model",
            "phantom",
            "--task",
            "phantom-occupations",
            "--limit-prompts",
            "1",
            "-n",
            "4",
            "--scorers",
            "clip-score",
            "--no-sheets",
            "--quiet",
            "--out",
            "run",
        ).code
        == 0
    )
    assert json.loads(Path("run/run.json").read_text())["scores_without_evidence"] == []
    shutil.copytree("run", "none")
    shutil.rmtree("none/evidence/scores")
    rewrite(Path("run"), "scores", all_but_one("image_id"))
    for folder in ("run", "none"):
        found = cli("leaderboard", "add", folder, "--csv", "b.csv")
        assert (found.code, Path("b.csv").exists()) == (2, False)
        assert "has no score of clip-score" in " ".join(found.err.split())
    first_version(Path("none"))
    assert "has no score of clip-score" in " ".join(cli("leaderboard", "add", "none", "--csv", "b.csv").err.split())


def test_a_row_cannot_leave_the_check(cli: Cli, run: Path) -> None:
    """By calling itself published, by forgetting its run, or by naming another source."""
    board = run.parent / "boards" / "b.csv"
    (row,) = leaderboard_board.read(board)
    for change, code, verdict in (
        ({}, 0, "agrees"),
        ({"source": "published"}, 1, "differs"),
        ({"source": "published", "published_in": "a paper", "gender.concentration": "0.001"}, 1, "differs"),
        ({"source": "published", "run_id": "", "gender.concentration": "0.001"}, 0, "unverifiable"),
        ({"run_id": "0" * 32, "gender.concentration": "0.001"}, 0, "unverifiable"),
    ):
        board.write_text(leaderboard_board.render([{**row, **change}]))
        found = cli("leaderboard", "verify", board, "--json")
        (checked,) = json.loads(found.out)["rows"]
        assert (found.code, checked["verdict"]) == (code, verdict), change
        strict = cli("leaderboard", "verify", board, "--strict")
        assert strict.code == (1 if change else 0)
    board.write_text(board.read_text().replace("measured", "tested"))
    found = cli("leaderboard", "verify", board)
    assert found.code == 2
    assert "field source: 'tested' is neither measured nor published" in found.err


def first_version(folder: Path) -> dict[str, Any]:
    """Make a run's record what fairbench 0.1.0 wrote, and return it."""
    path = folder / "run.json"
    record = json.loads(path.read_text())
    for name in ("labeller_parts", "scores_without_evidence", "notices", "metric_versions", "effective_settings"):
        record.pop(name, None)
    path.write_text(json.dumps(record))
    return dict(record)


def test_a_record_of_the_first_version_is_held_against_the_plugins(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = first_version(run)
    assert evidence.read(run).unbound == ()
    (run / "run.json").write_text(json.dumps({**record, "labeller_id": "0" * 12}))
    with pytest.raises(Exception, match="field labeller_id"):
        evidence.read(run)
    from fairbench.phantom.detector import PhantomDetector

    (run / "run.json").write_text(json.dumps(record))
    monkeypatch.setattr(PhantomDetector, "version", 99)
    assert evidence.read(run).unbound == ("labeller_id",)


def test_what_no_plugin_here_can_confirm_does_not_agree(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairbench.methods.suffixes import NoMethod

    monkeypatch.setattr(NoMethod, "version", 99)
    found = cli("leaderboard", "verify", run.parent / "boards" / "b.csv", "--json")
    (row,) = json.loads(found.out)["rows"]
    assert (row["verdict"], found.code) == ("unverifiable", 0)
    assert "quota" in row["reason"]
    assert cli("leaderboard", "verify", run.parent / "boards" / "b.csv", "--strict").code == 1


def test_a_record_with_more_fields_is_read(run: Path) -> None:
    """A later fairbench writes more; what is public of notices names no folder of this machine."""
    path = run / "run.json"
    record = json.loads(path.read_text())
    notice = {
        "code": "unread-file",
        "count": 1,
        "text": "/home/me/pictures/a.png cannot be read",
        "examples": ["/home/me/pictures/a.png"],
        "fix": "fix it",
        "strict": True,
        "later": 1,
    }
    path.write_text(json.dumps({**record, "later": {"a": 1}, "notices": [notice], "unread": {}}))
    public = leaderboard_evidence.public_record(leaderboard_evidence.open_run(run).record)
    assert "/home" not in json.dumps(public)
    assert public["notices"][0]["examples"] == ["a.png"]
    assert public["notices"][0]["count"] == 1
    assert "later" not in public


def test_two_looks_at_one_image_are_not_mixed(tmp_path: Path) -> None:
    """One process saw two faces, another one: the evidence has the look that was counted, whole."""
    from fairbench.labelling import faces as faces_stage
    from fairbench.storage import schemas

    image = b"i" * 16

    def look(areas: list[float]) -> pa.Table:
        return faces_stage.table(
            [
                {
                    "image_id": image,
                    "status": "ok",
                    "face_id": keys.face_id("f", image, i),
                    "face_index": i,
                    "area_frac": area,
                    "is_primary": area == max(areas),
                    "is_central": i == 0,
                }
                for i, area in enumerate(areas)
            ]
        )

    failed = faces_stage.table([faces_stage.missing_row(image, "failed")])
    for tables, wanted in (
        ([look([0.1]), look([0.1, 0.2])], [0.1]),
        ([failed, look([0.1, 0.2]), look([0.3])], [0.1, 0.2]),
        ([failed, failed], [None]),
    ):
        kept = pa.concat_tables(evidence._first_looks(tables))
        assert [None if a is None else round(a, 3) for a in kept["area_frac"].to_pylist()] == wanted
    assert schemas.schema("faces").names == kept.schema.names
