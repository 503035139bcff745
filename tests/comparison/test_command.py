"""`fairbench compare` through the command line: runs of mannequins, and runs whose evidence is made up."""

from __future__ import annotations

import builtins
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairbench.cards.cards import RESERVED
from fairbench.display.note import LABEL_NOTE
from fairbench.runs import evidence, registration
from tests.builders.cli import Cli
from tests.builders.fake_runs import BALANCED, BIASED, FAIR, FakeRun, draw_cells


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A biased run, a balanced one, and one by quota."""
    root = tmp_path_factory.mktemp("made")
    quota = replace(BALANCED, shown=draw_cells(FAIR, 6), model="quota", more={"quota": True, "method": "dealt"})
    return BIASED.write(root / "biased"), BALANCED.write(root / "balanced"), quota.write(root / "quota")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "compare.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_runs(cli: Cli, made: tuple[Path, Path, Path]) -> None:
    biased, balanced, _ = made
    result = cli("compare", biased, balanced, "--out", "report")
    assert result.code == 0, result.err
    words = " ".join(result.out.split())
    assert "this list of 24 common prompts" in words and "not for variants that are not here. Not regis" in words
    assert "B less concentrated" in words and "preserved within 0.5" in words
    assert "B against A: paired by prompt." not in words
    assert "B against A: paired by prompt." in cli("compare", biased, balanced, "--full", "--out", "report").out
    assert LABEL_NOTE in result.out and "written to report" in result.out
    assert Path("report/compare.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads(Path("report/compare.json").read_text())
    rows = table(Path("report"))
    assert len(rows) == len(record["effects"])
    first = {k: rows[0][k] for k in ("attribute", "estimand", "scope", "family", "margin", "quota")}
    assert first == {
        "attribute": "gender",
        "estimand": "concentration",
        "scope": "this list",
        "family": "primary",
        "margin": "",
        "quota": "False",
    }
    assert [r["verdict"] for r in rows] == [e["verdict"] for e in record["effects"]]
    assert record["note"] == LABEL_NOTE and record["alpha"] == 0.05 and record["variants"] == 1


def test_three_runs_as_json_in_the_default_folder(cli: Cli, made: tuple[Path, Path, Path]) -> None:
    result = cli("compare", *made, "--json", "--alpha", "0.1")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert (record["variants"], record["alpha"]) == (2, 0.1)
    assert record["selection"]["winner"] in {"B", "C"}
    folder = Path("runs") / "-".join(["compare", *(run["run_id"][:8] for run in record["runs"])])
    assert json.loads((folder / "compare.json").read_text()) == record
    assert {e["quota"] for e in record["effects"] if e["run"] == "C"} == {True}
    of_quota = [e for e in record["effects"] if e["run"] == "C" and e["scope"] == "this list"]
    assert {e["verdict"] for e in of_quota if e["attribute"] not in RESERVED} == {"withheld"}
    assert "withheld" not in {e["verdict"] for e in of_quota if e["attribute"] in RESERVED}
    assert {e["quota"] for e in record["effects"] if e["run"] == "B"} == {False}
    assert [r["attribute"] for r in record["rankings"]] == record["primary"]


def test_the_terminal_of_three_runs_fits(
    cli: Cli, made: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = cli("compare", *made)
    assert result.code == 0, result.err
    assert max(len(line) for line in result.out.splitlines() if "written to" not in line) <= 80
    assert "…" not in result.out
    words = " ".join(result.out.split())
    assert "quota + dealt (quota)" in words and "what rests on this list alone is withheld" in words
    assert "of 2 variants, not for" in words and "ranks by concentration on this list" in words
    assert "which flatters it; judged on the other 12" in words
    assert "judged on the other" not in cli("compare", *made, "--no-select").out


def test_without_matplotlib_there_is_a_notice_and_no_failure(
    cli: Cli, made: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    result = cli("compare", made[0], made[1], "--out", "bare")
    assert result.code == 0, result.err
    assert "pip install 'fairbench-umm[report]'" in " ".join(result.err.split())
    assert sorted(p.name for p in Path("bare").iterdir()) == ["compare.csv", "compare.json"]


def test_two_labellers_of_mannequins(cli: Cli, mannequin_runs: Path) -> None:
    result = cli("compare", mannequin_runs / "phantom", mannequin_runs / "phantom-noisy", "--out", "labellers")
    assert result.code == 0, result.err
    words = " ".join(result.out.split())
    assert "Two labellers on the same images" in words and "Neither labeller is the truth." in words
    assert LABEL_NOTE in result.out
    record = json.loads(Path("labellers/compare.json").read_text())
    assert (record["kind"], record["matched_by"]) == ("labellers", "face (one detector)")
    assert record["faces"] == record["runs"][0]["n_faces"] and record["unmatched"] == {"A": 0, "B": 0}
    by_name = {a["attribute"]: a for a in record["attributes"]}
    assert list(by_name) == ["gender", "race4", "gender_x_race4"]
    # phantom-noisy reads gender right in 82 to 93 of 100 chips.
    assert 0.7 < by_name["gender"]["agreement"]["raw"] < 1
    assert sum(map(sum, by_name["gender"]["table"])) == record["faces"]
    assert [r["attribute"] for r in table(Path("labellers"))] == list(by_name)
    assert Path("labellers/compare.png").exists()


def test_what_cannot_be_compared_is_refused_in_one_sentence(
    cli: Cli, made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    broken = FakeRun(draw_cells(FAIR, 7), "broken", first_subject=500, task="another").write(tmp_path / "elsewhere")
    for given, words in (
        ((made[0],), "needs two runs or more"),
        ((made[0], tmp_path), "name the folder of a finished run"),
        ((made[0], broken), "no prompt in common"),
        ((made[0], made[1], "--alpha", "0.7"), "--alpha 0.7"),
        ((made[0], made[1], "--select"), "--select"),
    ):
        result = cli("compare", *given, "--out", "nothing")
        assert result.code == 2 and words in result.err, (given, result.err)
        assert result.err.count("\n") == 1 and "Traceback" not in result.err
        assert not Path("nothing").exists()
    Path("file").write_text("")
    result = cli("compare", made[0], made[1], "--out", "file")
    assert result.code == 2 and "--out file is a file" in result.err


def test_a_comparison_says_whether_it_was_registered(cli: Cli, made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    biased, balanced, _ = made
    prompts = evidence.read(biased).prompts
    fields: dict[str, Any] = {
        "task": "occupations-mini",
        "arms": [{"model": "biased"}, {"model": "balanced"}],
        "attributes": ["gender", "race4", "gender_x_race4"],
        "margins": {"concentration.gender": 0.05, "groups.gender": 0.05},
        "scope": "this list",
        "images_per_prompt": 60,
        "alpha": 0.05,
        "labeller": "phantom",
    }
    registration.write(registration.register(prompts, **fields), tmp_path / "plan.json")
    asked = ("compare", biased, balanced, "--out", "report", "--registered", tmp_path / "plan.json")
    said = " ".join(cli(*asked).out.split())
    assert "Registered 20" in said and "with departures" not in said, said
    record = json.loads(Path("report/compare.json").read_text())["registration"]
    assert record["departures"] == [] and len(record["sha256"]) == 64
    said = " ".join(cli(*asked, "--alpha", "0.1").out.split())
    assert "with departures: the level is 0.1, 0.05 was registered." in said
    (tmp_path / "plan.json").write_text("{}")
    result = cli(*asked)
    assert result.code == 2 and "is no registration" in result.err and "Traceback" not in result.err
