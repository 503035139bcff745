"""The leaderboard: fixed columns, published rows apart, no row lost by two writers."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from fairbench.errors import CardError
from fairbench.leaderboard import board, columns, terminal
from fairbench.leaderboard.columns import COLUMNS, Row
from tests.builders.folders import ROOT, SHARED


def row(run_id: str, value: str = "0.2", **more: str) -> Row:
    return {
        **dict.fromkeys(COLUMNS, ""),
        "source": "measured",
        "model": run_id,
        "run_id": run_id,
        board.RANKED_BY: value,
        **more,
    }


def test_a_row_is_added_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "boards" / "b.csv"
    for run_id, value in (("a", "0.3"), ("b", "0.1"), ("a", "0.05")):
        board.add(path, row(run_id, value))
    assert [(r["rank"], r["run_id"], r[board.RANKED_BY]) for r in board.read(path)] == [
        ("1", "a", "0.05"),
        ("2", "b", "0.1"),
    ]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)


def ranks(rows: list[Row]) -> dict[str, tuple[str, ...]]:
    found = csv.DictReader(board.render(rows).splitlines())
    return {r["run_id"]: tuple(r[c] for c in columns.RANKS) for r in found}


def test_ranks_that_the_data_do_not_order() -> None:
    def measured(run_id: str, value: float, error: float | str) -> Row:
        return row(run_id, str(value), **{f"{board.RANKED_BY}.error": str(error)})

    apart = [measured("a", 0.1, 0.01), measured("b", 0.2, 0.01), measured("c", 0.3, 0.01)]
    assert ranks(apart) == {"a": ("1", "1", "1"), "b": ("2", "2", "2"), "c": ("3", "3", "3")}
    near = [measured("a", 0.1, 0.01), measured("b", 0.2, 0.01), measured("c", 0.22, 0.01)]
    assert ranks(near) == {"a": ("1", "1", "1"), "b": ("2", "2", "3"), "c": ("3", "2", "3")}
    tied = [measured("a", 0.2, 0.01), measured("b", 0.2, 0.01), measured("c", 0.9, 0.01)]
    assert ranks(tied) == {"a": ("1", "1", "2"), "b": ("1", "1", "2"), "c": ("3", "3", "3")}
    unknown = [measured("a", 0.2, ""), measured("b", 0.9, 0.01)]  # nothing is shown without a standard error
    assert ranks(unknown) == {"a": ("1", "1", "2"), "b": ("2", "1", "2")}
    # One-sided, three pairs of two: z must exceed 2.394 at 0.05 / 6, as 0.034 / sqrt(2 x 0.01^2) = 2.404 does.
    assert ranks([measured("a", 0.1, 0.01), measured("b", 0.134, 0.01), measured("c", 9, 0.01)])["b"][1] == "2"
    assert ranks([measured("a", 0.1, 0.01), measured("b", 0.133, 0.01), measured("c", 9, 0.01)])["b"][1] == "1"


def test_the_same_images_do_not_take_two_ranks() -> None:
    """Under two calibrations, or under another name, the labels of one set of images are one entry."""

    def measured(run_id: str, value: float, labels: str, **more: str) -> Row:
        return row(run_id, str(value), **{f"{board.RANKED_BY}.error": "0.001"}, labels_sha256=labels, **more)

    twice = measured("b2", 0.2, "B", labeller="flip", calibration_sha="other")
    rows = [measured("a", 0.1, "A"), measured("b1", 0.2, "B"), twice, measured("c", 0.3, "C")]
    expected = {"a": ("1", "1", "1"), "b1": ("2", "2", "2"), "b2": ("2", "2", "2"), "c": ("3", "3", "3")}
    assert ranks(rows) == expected
    assert [r["run_id"] for r in csv.DictReader(board.render(rows).splitlines())] == ["a", "b1", "b2", "c"]
    other_labeller = measured("b3", 0.25, "B'", labeller_id="another")
    assert ranks([*rows, other_labeller]) == {**expected, "b3": ("1", "1", "1")}  # ranks are of one labeller
    unnamed = [measured("x", 0.1, ""), measured("y", 0.2, ""), measured("z", 0.3, "")]
    assert [r[0] for r in ranks(unnamed).values()] == ["1", "2", "3"]


def test_every_row_names_its_labeller_and_calibration() -> None:
    """Two cards of one labeller under two calibrations: the table says which row is whose, and "=" for one rank."""
    shared = {"labels_sha256": "B", "labeller_id": "0e47a4e0fe0e", "prompts": "9", "gender.concentration": "0.2"}
    shared |= {"gender.concentration.low": "0.1", "gender.concentration.high": "0.3", "no-face-rate": "0.01"}
    photographs = {"labeller": "flip", "calibration_sha": "f" * 64, "calibration_domain": "photographs"}
    photographs |= {"gender.concentration-lowest": "0.2", "gender.concentration-highest": "0.41"}
    photographs |= {"gender.concentration-lowest.low": "0.15", "gender.concentration-highest.high": "0.5"}
    rows = [row("a", **shared, labeller="phantom"), row("b", **shared, **photographs)]
    rows = [{**r, "method": "none"} for r in rows]
    out = io.StringIO()
    terminal.show(rows, Console(file=out, width=140))
    lines = [" ".join(text.split()) for text in out.getvalue().splitlines()]
    assert "1 a gender .20 [.10, .30] none none" in lines
    assert "read by phantom, no calibration gender x race .20 none none" in lines
    assert "= b gender .20 [.10, .30] .20 to .41 [.15, .50] none" in lines
    assert any("read by flip, calibration ffffffff on photographs" in text for text in lines)
    assert "only 9 prompts" in lines and terminal.FEW in lines and terminal.SAME in lines
    alone = io.StringIO()
    terminal.show([rows[1] | {"prompts": "32"}], Console(file=alone, width=160))
    assert "labeller 0e47a4e0fe0e, read by flip, calibration ffffffff on photographs" in alone.getvalue()
    assert not {terminal.FEW, terminal.SAME} & set(alone.getvalue().splitlines())


@pytest.mark.parametrize(
    ("listed", "used", "expected"),
    [
        ("32", {"gender": "32", "race4": "32"}, None),
        ("32", {"gender": "32", "race4": "28"}, "28 of 32 prompts"),
        ("32", {"gender": "9", "race4": "32"}, "only 9 prompts"),
        ("1", {}, "only 1 prompt"),
        ("10", {}, None),
        ("", {}, None),
    ],
)
def test_rows_on_few_prompts_carry_a_remark(listed: str, used: dict[str, str], expected: str | None) -> None:
    found = row("a", prompts=listed, **{f"{name}.concentration.prompts": text for name, text in used.items()})
    assert board.remark(found) == expected
    assert terminal.standings([found])["measured"][0][0]["remark"] == expected


def test_a_row_whose_evidence_fails_is_not_added(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    board.add(path, row("a"))
    before = path.read_bytes()

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        board.add(path, row("b"), killed)
    assert path.read_bytes() == before
    board.add(path, row("b"))  # the lock is free again
    assert len(board.read(path)) == 2


def test_a_missing_metric_blocks_a_rank() -> None:
    """Seen in other tools: a model that was not measured looks unbiased."""
    column = board.RANKED_BY
    rows = [row("none", ""), row("part", "0.01", missing=f"{column}: mean over 1 of 50 prompts"), row("whole", "0.2")]
    found = {r["run_id"]: r["rank"] for r in csv.DictReader(board.render(rows).splitlines())}
    assert found == {"none": "", "part": "", "whole": "1"}


def test_runs_that_do_not_compare_are_ranked_apart() -> None:
    rows = [
        row("a", "0.2", images_per_prompt="160"),
        row("b", "0.1", images_per_prompt="4"),
        row("c", "0.2", images_per_prompt="160"),
    ]
    found = {r["run_id"]: r["rank"] for r in csv.DictReader(board.render(rows).splitlines())}
    assert found == {"a": "1", "b": "1", "c": "1"}  # a and c are tied


def test_runs_of_folders_are_never_ranked() -> None:
    rows = [row("a", "0.2", task="folder"), row("b", "0.1", task="folder")]
    assert [r["rank"] for r in csv.DictReader(board.render(rows).splitlines())] == ["", ""]


def test_published_rows_are_never_ranked() -> None:
    rows = [row("m", "0.2"), {**row("p", "0.01"), "source": "published", "rank": "1"}]
    found = list(csv.DictReader(board.render(rows).splitlines()))
    assert [(r["source"], r["rank"]) for r in found] == [("measured", "1"), ("published", "")]


def test_the_seeded_file_holds_the_published_numbers() -> None:
    source = SHARED / "data" / "published_results.csv"
    if not source.exists():
        pytest.skip("the table of published results is not beside this checkout")
    seeded = [r for r in board.read(ROOT / "leaderboards" / "occupations-v1.csv") if r["source"] == "published"]
    wanted = list(csv.DictReader(source.open()))
    names = (
        "model",
        "gender.rd",
        "race4.rd",
        "gender_x_race4.rd",
        "clip_score",
        "clip_iqa",
        "inception_score",
        "published_in",
    )
    theirs = ("model", "gender_rd", "race4_rd", "gxr_rd", "clip_s", "clip_iqa", "inception", "source")
    assert [tuple(r[n] for n in names) for r in seeded] == [tuple(r[n] for n in theirs) for r in wanted]
    assert all(r["rank"] == "" and r["published_in"] for r in seeded)


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fairbench.leaderboard import board as l\n"
        "base = dict.fromkeys(l.COLUMNS, '')\n"
        "for i in range(15):\n"
        "    l.add(Path('b.csv'), {**base, 'source': 'measured', 'run_id': f'{sys.argv[1]}-{i}'})\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)], cwd=tmp_path) for n in range(3)]
    assert [w.wait() for w in writers] == [0, 0, 0]
    assert len({r["run_id"] for r in board.read(tmp_path / "b.csv")}) == 45


def test_another_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    edited = board.render([row("a", "0.23")])
    for text in (
        "",
        "a,b\n1,2\n",
        ",".join(COLUMNS) + "\nshort\n",
        "\xff\xfe",
        edited.replace("0.23", "abc"),
        edited.replace("0.23", "nan"),
    ):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(CardError, match=r"b\.csv"):
            board.add(path, row("a"))
        assert path.read_text(encoding="latin-1") == text


def test_a_leaderboard_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    """A spreadsheet puts a byte-order mark in front, and ends lines its own way."""
    path = tmp_path / "board.csv"
    text = board.render([])
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert board.read(path) == []
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(CardError, match="is UTF-16 text: save it as UTF-8"):
        board.read(path)


def test_one_row_per_label_table_with_a_value_per_calibration() -> None:
    def measured(run_id: str, labels: str, calibration: str, adjusted: str, **more: str) -> Row:
        names = {"model": "m", "labels_sha256": labels, "calibration_sha": calibration, "n_faces": "9"}
        return row(run_id, **{**names, "gender.concentration-corrected": adjusted, "method": "none", **more})

    twins = [measured("a", "A", "k1", "0.1"), measured("b", "A", "k2", "0.3")]
    (group,) = board.standings([measured("c", "C", "k1", "0.2", **{board.RANKED_BY: "0.4"}), *twins])
    assert [[r["run_id"] for r in standing.rows] for standing in group] == [["a", "b"], ["c"]]
    assert [standing.shared["rank"] for standing in group] == ["1", "2"]
    assert group[0].shared["model"] == "m" and group[0].shared["gender.concentration-corrected"] == ""
    assert group[0].by_calibration["k2"]["gender.concentration-corrected"] == "0.3"
    assert board.calibrations(group) == ["k1", "k2"] and "k2" not in group[1].by_calibration

    def places(*rows: Row) -> int:
        return sum(map(len, board.standings(rows)))

    assert places(*twins, measured("d", "A", "", "")) == 1
    assert places(*twins, measured("d", "A", "k2", "0.3")) == 2  # nothing is hidden behind a column
    assert places(twins[0], {**twins[1], "labeller_id": "another"}) == 2
    assert places(twins[0], {**twins[1], "model": "another name"}) == 2
    assert places(*({**r, "labels_sha256": ""} for r in twins)) == 2
    assert places(*({**r, "n_faces": "0"} for r in twins)) == 2  # no faces: the labels say nothing of the images
    assert places(*({**r, "task": "folder"} for r in twins)) == 1  # without a rank, but the same images


def test_a_row_has_a_column_for_each_calibration() -> None:
    """Where a place holds several, the table has columns of each; a row without one is empty there."""

    def measured(name: str, value: str, sha: str, adjusted: str, floor: str) -> Row:
        cells = {"concentration": value, "concentration-corrected": adjusted, "concentration.floor": floor}
        shown = {f"gender.{measure}": text for measure, text in {**cells, "concentration.ceiling": "0.9"}.items()}
        shown[f"{board.RANKED_BY}.error"] = "0.001"
        same = {"labels_sha256": name, "n_faces": "9", "model": name, "method": "none", "calibration_domain": "renders"}
        return row(f"{name}{sha}", value, calibration_sha=sha, labeller="reader", prompts="32", **same, **shown)

    rows = [measured("m", "0.2", "k1", "0.11", "0.01"), measured("m", "0.2", "k2", "0.12", "0.02")]
    rows.append(measured("o", "0.4", "k2", "0.33", "0.03"))
    out = io.StringIO()
    terminal.show(rows, Console(file=out, width=140))
    lines = [" ".join(text.split()) for text in out.getvalue().splitlines()]
    assert "1 m gender .20 .01 / .90 .11 .02 / .90 .12 none" in lines
    assert "2 o gender .40 .03 / .90 .33 none" in lines
    assert any("(k1) (k1) (k2) (k2)" in text for text in lines)
    assert not any(text.startswith("=") for text in lines)
