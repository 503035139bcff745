"""What the pages of leaderboards are made of, and the command that writes them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fairbench.leaderboard import board as leaderboard_board
from fairbench.leaderboard import terminal
from fairbench.leaderboard.columns import COLUMNS, Row
from fairbench.leaderboard.site import charts, pages, rows, words
from fairbench.leaderboard.site.beside import Number, is_same_model, pairs
from fairbench.leaderboard.verify import Check, Verdict
from tests.builders import boards as build
from tests.builders.cli import Cli

TWIN, OTHER = "f" * 32, "e" * 32


@pytest.fixture
def measured(published_run: Path) -> Row:
    return leaderboard_board.read(published_run / "published" / "b.csv")[0]


def test_what_chance_would_do_rests_on_both_intervals_where_both_are_known(measured: Row) -> None:
    def stated(verdict: Verdict) -> list[Number]:
        check = Check(2, TWIN, "", "", verdict)
        evidence = rows.Evidence((), (), "", (), {"gender": (0.2, 0.4)})
        own = rows.Entry({**measured, "gender.rd": "0.3"}, "own", check, evidence)
        limits = {"gender.concentration.low": "0.4", "gender.concentration.high": "0.6"}
        paper = {**measured, "model": "Phantom Exact 3B", "gender.concentration": "0.5", "gender.rd": "0.66", **limits}
        at = rows.Board("b.csv", "b", (own,), [[[own]]])
        (pair,) = pairs(rows.Entry(paper, "paper", None, None), [at])
        assert "model: Phantom Exact 3B there, phantom-exact here" in pair.differs
        return list(pair.numbers[:2])

    rd, concentration = stated("agrees")
    low, high = (float(measured[f"gender.concentration.{end}"]) for end in ("low", "high"))
    assert concentration.chance == pytest.approx(math.hypot((high - low) / 2, 0.1) + 0.05)
    assert rd.chance == pytest.approx(math.sqrt(2) * 0.1 + 0.005) and rd.reading.startswith("farther")
    assert stated("differs")[0].chance is None  # the evidence's interval is of another number


@pytest.mark.parametrize(
    ("published", "card", "same"),
    [
        ("SD v1.5", "sd-v1-5", True),
        ("VILA-U", "vila-u", True),
        ("Janus-Pro", "janus-pro-7b", True),
        ("Janus-Pro-1.3B", "janus-pro", True),
        ("Janus-Pro-1B", "janus-pro-7b", False),
        ("Janus", "janus-pro-7b", False),
        ("Emu3", "emu3.5", False),
        ("---", "", False),
    ],
)
def test_models_are_known_by_their_names_however_they_are_spelt(published: str, card: str, same: bool) -> None:
    assert is_same_model(published, card) is same


def test_a_chart_says_its_numbers_and_draws_the_ranks(measured: Row) -> None:
    ranks = {"rank": "2", "rank.low": "1", "rank.high": "3"}
    entries = [rows.Entry({**measured, **ranks, "run_id": name}, name, None, None) for name in (TWIN, OTHER)]
    chart = charts.standings("standings-1", "", entries)
    assert chart is not None and charts.standings("standings-1", "", entries[:1]) is None
    drawn = chart.spec["data"]["values"][0]
    assert (drawn["rank"], drawn["best"], drawn["worst"]) == (2, 1, 3)
    assert drawn["concentration"] == float(measured["gender_x_race4.concentration"])
    assert "rank 2, could be 1 to 3" in chart.alt and f"({TWIN})" in chart.alt and f"({OTHER})" in chart.alt


def test_a_leaderboard_without_rows_and_rows_without_ranks_say_so(measured: Row, tmp_path: Path) -> None:
    for name, found in (("empty", []), ("unranked", [{**measured, "run_id": OTHER, leaderboard_board.RANKED_BY: ""}])):
        (tmp_path / f"{name}.csv").write_text(leaderboard_board.render(found), encoding="utf-8")
    first = pages.write([tmp_path / "empty.csv", tmp_path / "unranked.csv"], tmp_path / "out")
    assert "<p>no rows</p>" in first.read_text() and "Nothing was measured so far." in first.read_text()
    at = first.parent / "pages"
    assert "No measured rows so far" in (at / "empty" / "index.html").read_text()
    unranked = (at / "unranked" / "index.html").read_text()
    assert f">{terminal.FEW}<" in unranked and f">{terminal.UNRANKED}<".replace("'", "&#39;") in unranked


def test_every_column_has_a_meaning() -> None:
    assert all(words.meaning(column) for column in COLUMNS)


def test_every_leaderboard_has_a_folder_of_its_own() -> None:
    names = ("a-3.csv", "x/A.csv", "y/a.csv", "z/a!.csv", "submit.csv", "\u202e.csv", "=.csv")
    found = rows.folders([Path(name) for name in names])
    assert found == ["a-3", "a", "a-2", "a-4", "submit-2", "board", "board-2"]


def test_the_command_writes_again_and_refuses_what_is_not_its_own(cli: Cli, board: Path, tmp_path: Path) -> None:
    build.spoil(board, "run_id", OTHER)  # without evidence there is nothing to compute
    said = cli("leaderboard", "site", board, "--out", "pages").succeeded().out
    assert said == f"leaderboards: {Path('pages') / 'index.html'}\n"
    cli("leaderboard", "site", board, "--out", "pages").succeeded()
    assert json.loads((tmp_path / "pages/assets/leaderboards.json").read_text())["leaderboards"] == ["b.csv"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.txt").write_text("x")
    for args, said in (
        ((board, "--out", "mine"), "holds files that are not pages of leaderboards"),
        ((board, board), "is named twice"),
        (("absent.csv",), "There is no leaderboard absent.csv"),
    ):
        refused = cli("leaderboard", "site", *args)
        assert refused.code == 2 and said in refused.err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["x.txt"]
