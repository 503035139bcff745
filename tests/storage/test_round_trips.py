"""A writer refuses what its reader would: whatever is written is read again as it was."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench.cards import truth_table
from fairbench.display.plain import echo_json
from fairbench.errors import CardError
from fairbench.labelling import confusion
from fairbench.labelling.confusion import NO_FACE, NO_PERSON, Calibration
from fairbench.leaderboard import board, columns
from fairbench.phantom import planted
from fairbench.phantom.making.build import realised_csv
from fairbench.runs import files as run_files
from fairbench.runs import record as record_of_run
from fairbench.storage import schemas
from fairbench.storage.cells import bare
from fairbench.storage.store import Store
from tests.builders.folders import ROOT

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
SMALL = settings(max_examples=60, deadline=None)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    if pa.types.is_string(kind):
        return TEXT
    if pa.types.is_integer(kind):
        top = 2 ** (kind.bit_width - 1)
        return st.integers(-top, top - 1)
    if pa.types.is_floating(kind):
        return FLOATS if kind.bit_width == 64 else st.floats(width=32)
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_map(kind):
        return st.dictionaries(TEXT, TEXT, max_size=2).map(lambda d: list(d.items()))
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({"bytes": st.binary(max_size=4) | st.none(), "path": TEXT | st.none()})
    if pa.types.is_fixed_size_list(kind):
        return st.lists(values(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    return st.lists(values(kind.value_type), max_size=3)


@st.composite
def tables(draw: st.DrawFn, name: str) -> dict[str, list[Any]]:
    size = draw(st.integers(1, 3))
    columns: dict[str, list[Any]] = {}
    for field in schemas.schema(name):
        one = values(field.type)
        if field.name == "status":
            one = st.sampled_from(sorted(schemas.STATUSES[name]))
        if name == "labels" and field.name in ("prob", "probs"):
            one = st.floats(0, 1, width=32) if field.name == "prob" else st.lists(st.floats(0, 1, width=32), max_size=3)
        columns[field.name] = draw(st.lists(one | st.none() if field.nullable else one, min_size=size, max_size=size))
    return columns


@pytest.mark.parametrize("name", schemas.VERSIONS)
def test_tables(name: str) -> None:
    """What the store writes, it reads, column by column and whole; it is checked before it is written."""

    @SMALL
    @given(tables(name))
    def holds(columns: dict[str, list[Any]]) -> None:
        try:
            table = schemas.build(name, columns)
        except ValueError:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Store(Path(folder)).write(name, "k", table)
            assert path is not None
            again = Store(Path(folder)).read(name, path)
        assert again is not None
        schemas.check(name, again)
        assert repr(again.to_pylist()) == repr(table.to_pylist())  # repr: NaN is no equal of itself

    holds()


@st.composite
def rows(draw: st.DrawFn) -> columns.Row:
    text = st.text(max_size=12) | st.sampled_from(['"', ",", "a\nb", "a\rb", "\x00", "\ud800", "'", " x ", "=1"])
    number = st.just("") | FLOATS.map(lambda v: f"{v:.6g}") | text
    row = {
        c: draw(number if c in columns.VALUES else text) if draw(st.booleans()) else ""
        for c in (*columns.VALUES[:3], "model", "note", "run_id", "missing")
    }
    return {**dict.fromkeys(columns.COLUMNS, ""), **row, "source": draw(st.sampled_from(["measured", "published"]))}


@SMALL
@given(rows(), rows())
def test_leaderboards(first: columns.Row, second: columns.Row) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "b.csv"
        added = []
        for row in (first, second):
            before = path.read_bytes() if path.exists() else None
            try:
                board.add(path, row)
                added = [r for r in added if not r["run_id"] or r["run_id"] != row["run_id"]] + [row]
            except CardError:
                assert (path.read_bytes() if path.exists() else None) == before
        if added:
            found = [{**r, **dict.fromkeys(columns.RANKS, "")} for r in board.read(path)]
            assert sorted(map(repr, found)) == sorted(map(repr, added))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_not_finite_is_not_added(tmp_path: Path, value: str) -> None:
    row = {**dict.fromkeys(columns.COLUMNS, ""), "source": "measured", "run_id": "a", "clip_score": value}
    with pytest.raises(CardError, match=f"field clip_score: '{value}' is no finite number"):
        board.add(tmp_path / "b.csv", row)
    assert not (tmp_path / "b.csv").exists()


@SMALL
@given(tables("metrics"))
def test_metrics(columns: dict[str, list[Any]]) -> None:
    """The Parquet file is the table; the CSV has every cell: text that `bare` reads, exact numbers, "" for null."""
    table = schemas.build("metrics", columns)
    again = pq.read_table(pa.BufferReader(run_files._parquet(table)))
    assert repr(again.to_pylist()) == repr(table.to_pylist())
    read = list(csv.DictReader(io.StringIO(run_files._csv(table).decode(), newline="")))
    assert len(read) == len(table)
    for row, wanted in zip(read, table.to_pylist(), strict=True):
        for name, value in wanted.items():
            if isinstance(value, float):
                assert repr(float(row[name])) == repr(value)
            else:
                assert bare(row[name]) == ("" if value is None else str(value))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT | FLOATS.map(np.float64) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@SMALL
@given(st.dictionaries(TEXT, PLAIN, max_size=4))
def test_records_of_runs(record: dict[str, Any]) -> None:
    read = json.loads(record_of_run.text_of(record), parse_constant=refuse)
    assert finite(read) and read.keys() == record.keys()
    assert record_of_run.text_of(read) == record_of_run.text_of(record)


def test_what_a_command_prints_as_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"nan": float("nan"), "array": np.array([1.5, np.inf]), "list": [{"deep": -math.inf}]})
    read = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert read == {"nan": None, "array": [1.5, None], "list": [{"deep": None}]}


def test_no_command_prints_json_in_another_way() -> None:
    """`json.dumps` writes NaN unless it is told not to."""
    for path in (ROOT / "fairbench" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "json.dumps":
                assert any(k.arg == "allow_nan" for k in node.keywords), f"{path.name}, line {node.lineno}"


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    labels = draw(st.lists(TEXT, min_size=2, max_size=3, unique=True))
    cells = tuple((label,) for label in labels)
    true = (*cells, NO_PERSON) if draw(st.booleans()) else cells
    counts = draw(
        st.lists(
            st.lists(st.integers(0, 2**54), min_size=len(cells) + 1, max_size=len(cells) + 1),
            min_size=len(true),
            max_size=len(true),
        )
    )
    return Calibration(
        labeller=draw(TEXT),
        labeller_id=draw(st.sampled_from(["0" * 12, "0" * 11, "x" * 12])),
        domain=draw(TEXT),
        attributes=(draw(TEXT),),
        rows=true,
        columns=(*cells, NO_FACE),
        counts=np.array(counts, dtype=np.int64),
        command=draw(TEXT),
        seed=draw(st.integers(-(2**70), 2**70)),
        notes=draw(TEXT),
        implausible_allowed=draw(st.booleans()),
        independent_check=draw(st.dictionaries(TEXT, FLOATS, max_size=2)),
    )


@SMALL
@given(st.data())
def test_calibrations(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.json"
        try:
            one = data.draw(calibrations())
            one.write(path)
        except CardError:
            assert not path.exists()
            return
        again = confusion.read(path)
    for name in Calibration.__slots__:
        assert np.array_equal(getattr(again, name), getattr(one, name)), name


@SMALL
@given(st.lists(st.lists(st.integers(0, 10**6), min_size=8, max_size=8).filter(any), min_size=32, max_size=32))
def test_tables_of_realised_truth(counts: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(realised_csv(np.array(counts)), encoding="utf-8")
        read = truth_table.read(path, planted.COLUMNS)
    shares = np.array(counts) / np.sum(counts, axis=1, keepdims=True)
    # Eight shares are rounded to six digits, and then divided by their sum.
    np.testing.assert_allclose(np.stack(list(read.values())), shares, rtol=0, atol=8 * 0.5e-6)
