"""Text that a spreadsheet would run is written behind an apostrophe, and read as it was."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench.cards.csvfile import Columns, read_csv
from fairbench.leaderboard import board
from fairbench.leaderboard.columns import COLUMNS
from fairbench.runs.folder import RunFolder
from fairbench.storage import atomic
from fairbench.storage.cells import bare, guarded, guarded_table

SIGNS = "=+-@\t"
TEXTS = st.text(st.sampled_from([*SIGNS, *"'\",\n1.einfa ", "\u202e", "é"]), max_size=8)


@settings(deadline=None)  # the first example loads libraries
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_any_text_comes_back_and_none_acts(texts: list[str]) -> None:
    (written,) = csv.reader(io.StringIO(atomic.csv_text([texts]), newline=""))
    assert [bare(cell) for cell in written] == texts
    for cell in written:
        assert not cell.startswith(tuple(SIGNS)) or is_number(cell)


def is_number(cell: str) -> bool:
    """By Python's own reader of numbers."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


@settings(deadline=None)  # the first example loads libraries
@given(st.lists(TEXTS | st.none(), min_size=1, max_size=4))
def test_a_column_is_written_as_cells_are(texts: list[str | None]) -> None:
    table = guarded_table(pa.table({"=a": pa.array(texts, pa.string()), "n": [-1.5] * len(texts)}))
    assert table.column_names == ["'=a", "n"]
    assert table["'=a"].to_pylist() == [guarded(text) for text in texts]
    assert table["n"].to_pylist() == [-1.5] * len(texts)


@pytest.mark.parametrize("number", ["-1", "+.5", "-2.5e-07", "-inf", "-nan", "0", "3."])
def test_numbers_stay(number: str) -> None:
    assert guarded(number) == number == bare(number)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("-", "'-"),
        ("'=x", "''=x"),
        ("''@", "'''@"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
    ],
)
def test_formulas_do_not(text: str, written: str) -> None:
    assert (guarded(text), bare(written)) == (written, text)


def test_tables_and_leaderboards_take_it_off(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(atomic.csv_text([["subject", "=n"], ["=cmd", "-1"], ["'=x", "a\n=b"]]))
    rows = [row for _, row in read_csv(path, Columns(("subject", "=n")))]
    assert rows == [{"subject": "=cmd", "=n": "-1"}, {"subject": "'=x", "=n": "a\n=b"}]
    hostile = {"model": "=cmd", "method": "'=x", "note": '-, "@"\nx', "gender.concentration": "-0.25"}
    board.add(path.with_name("b.csv"), {**dict.fromkeys(COLUMNS, ""), "source": "measured", "run_id": "r", **hostile})
    (row,) = board.read(path.with_name("b.csv"))
    assert {column: row[column] for column in hostile} == hostile
    assert "'=cmd" in path.with_name("b.csv").read_text()


def test_earlier_files_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("subject\n=cmd\n-\n'tis\n-0.5\n")
    assert [row["subject"] for _, row in read_csv(path, Columns(("subject",)))] == ["=cmd", "-", "'tis", "-0.5"]
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(guarded_table(pa.table({"a": ["=x", None]})), sink)
    assert sink.getvalue().to_pybytes() == b'"a"\n"\'=x"\n\n'


def test_prompts_of_a_run_come_back(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text(atomic.csv_text([["prompt", "=n"], ["=cmd", "-0.5"], ["'-x", ""]]))
    table = RunFolder(tmp_path).prompts
    assert list(table["prompt"]) == ["=cmd", "'-x"] and table["=n"].iloc[0] == -0.5
